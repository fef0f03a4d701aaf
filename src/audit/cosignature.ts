import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { SallyportError } from '../errors.ts'

/** Cosignatures of witnesses, version 1: https://c2sp.org/tlog-cosignature. Pure. */
const cosignatureV1 = 0x04
const spki = Buffer.from('302a300506032b6570032100', 'hex')
const signatureBytes = 4 + 8 + 64

export interface Witness {
  readonly name: string
  readonly keyId: Buffer
  readonly key: KeyObject
}

/** @throws SallyportError `bad_config` where the text is no verifier key of a witness: `<name>+<id>+<base64 of 04 and an Ed25519 key>`. */
export function parseWitness(text: string): Witness {
  const match = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/u.exec(text.trim())
  const bytes = Buffer.from(match?.[3] ?? '', 'base64')
  if (!match || bytes.length !== 33 || bytes[0] !== cosignatureV1)
    throw new SallyportError('bad_config', 'this is no verifier key of a witness', {
      remedy: 'write what its operator publishes: <name>+<8 hex digits>+<base64 that begins with B>',
    })
  const keyId = createHash('sha256').update(`${match[1]!}\n`).update(bytes).digest().subarray(0, 4)
  if (keyId.toString('hex') !== match[2])
    throw new SallyportError('bad_config', 'the id in the verifier key of the witness does not belong to its key')
  const key = createPublicKey({ key: Buffer.concat([spki, bytes.subarray(1)]), format: 'der', type: 'spki' })
  return { name: match[1]!, keyId, key }
}

/** When a witness signed this text of a checkpoint (s since 1970), or null where the line is no good cosignature of it. */
export function cosignedAt(line: string, text: string, witness: Witness): number | null {
  const match = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u.exec(line)
  const bytes = Buffer.from(match?.[2] ?? '', 'base64')
  if (match?.[1] !== witness.name || bytes.length !== signatureBytes || !bytes.subarray(0, 4).equals(witness.keyId))
    return null
  const at = bytes.readBigUInt64BE(4)
  if (at > BigInt(Number.MAX_SAFE_INTEGER)) return null
  const signed = Buffer.from(`cosignature/v1\ntime ${at}\n${text}`, 'utf8')
  return verify(null, signed, witness.key, bytes.subarray(12)) === true ? Number(at) : null
}
