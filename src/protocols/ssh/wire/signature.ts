import { createHash, type KeyObject, verify } from 'node:crypto'
import { FieldReader } from './fields.ts'
import { curves, type KeyType, type PublicKey, parsePublicKey } from './public-key.ts'

/** Signature algorithm → the key type that it belongs to, and its hash. `ssh-rsa` (SHA-1) and `ssh-dss` are not here. */
const algorithms: Readonly<Record<string, { readonly type: KeyType; readonly hash: string | null }>> = {
  'ssh-ed25519': { type: 'ssh-ed25519', hash: null },
  'ecdsa-sha2-nistp256': { type: 'ecdsa-sha2-nistp256', hash: curves.nistp256.hash },
  'ecdsa-sha2-nistp384': { type: 'ecdsa-sha2-nistp384', hash: curves.nistp384.hash },
  'ecdsa-sha2-nistp521': { type: 'ecdsa-sha2-nistp521', hash: curves.nistp521.hash },
  'rsa-sha2-256': { type: 'ssh-rsa', hash: 'sha256' },
  'rsa-sha2-512': { type: 'ssh-rsa', hash: 'sha512' },
  'sk-ssh-ed25519@openssh.com': { type: 'sk-ssh-ed25519@openssh.com', hash: null },
  'sk-ecdsa-sha2-nistp256@openssh.com': { type: 'sk-ecdsa-sha2-nistp256@openssh.com', hash: 'sha256' },
}

/** The type of key that signs by this algorithm, or undefined for one that is not taken. */
export function keyTypeOf(algorithm: string): KeyType | undefined {
  return Object.hasOwn(algorithms, algorithm) ? algorithms[algorithm]!.type : undefined
}

/**
 * Whether `signature` (`string algorithm, string value`, RFC 4253 §6.6) is the key's over `data`, by exactly `algorithm`.
 * INVARIANT: true is success, everything else is not (SS1); it never throws.
 */
export function verifySignature(keyBlob: Buffer, algorithm: string, data: Buffer, signature: Buffer): boolean {
  try {
    const fields = new FieldReader(signature)
    if (fields.text(64) !== algorithm) return false
    const value = fields.bytes(4096)
    return verifyValue(parsePublicKey(keyBlob), algorithm, data, value, fields)
  } catch {
    return false
  }
}

/** The same for a value without its wrapping; ECDSA as `mpint r, mpint s`. */
function verifyValue(key: PublicKey, algorithm: string, data: Buffer, value: Buffer, rest: FieldReader): boolean {
  const rule = Object.hasOwn(algorithms, algorithm) ? algorithms[algorithm] : undefined
  if (rule === undefined || rule.type !== key.type) return false
  let signed = data
  if (key.application !== null) {
    const flags = rest.u8()
    const counter = rest.u32()
    if ((flags & 1) !== 1) return false // nobody touched the hardware key
    signed = Buffer.concat([sha256(Buffer.from(key.application)), Buffer.alloc(5), sha256(data)])
    signed[32] = flags
    signed.writeUInt32BE(counter, 33)
  }
  rest.end()
  if (!algorithm.includes('ecdsa')) {
    if (key.type === 'ssh-rsa' && value.length !== modulusBytes(key.key)) return false
    return verify(rule.hash, signed, key.key, value) === true
  }
  const { bytes } = curves[/nistp\d+/.exec(algorithm)![0] as keyof typeof curves]
  const numbers = new FieldReader(value)
  const pair = Buffer.alloc(2 * bytes)
  for (const end of [bytes, 2 * bytes]) {
    const number = numbers.mpint(bytes + 1)
    if (number.length > bytes) return false
    number.copy(pair, end - number.length)
  }
  numbers.end()
  return verify(rule.hash, signed, { key: key.key, dsaEncoding: 'ieee-p1363' }, pair) === true
}

function modulusBytes(key: KeyObject): number {
  return Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8)
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}
