import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { SallyportError } from '../errors.ts'

/** C2SP signed notes with Ed25519: https://c2sp.org/signed-note. Pure. */
const ed25519 = 0x01
const spki = Buffer.from('302a300506032b6570032100', 'hex') // RFC 8410 §4: what stands before the 32 bytes of a public key

export interface Verifier {
  readonly name: string
  readonly keyId: Buffer
  readonly key: KeyObject
}

/** A name that may stand on a signature line: not empty, no white space, no `+`. */
export function checkName(name: string): string {
  if (!/^[^\s+]+$/u.test(name))
    throw new SallyportError('bad_config', `"${name}" cannot name a log: no space and no + may stand in it`)
  return name
}

function rawPublic(key: KeyObject): Buffer {
  const jwk = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' })
  if (jwk.crv !== 'Ed25519' || jwk.x === undefined)
    throw new SallyportError('bad_config', 'notes are signed with an Ed25519 key')
  return Buffer.from(jwk.x, 'base64url')
}

function idOf(name: string, raw: Buffer): Buffer {
  return createHash('sha256').update(`${name}\n`).update(Buffer.of(ed25519)).update(raw).digest().subarray(0, 4)
}

/** The verifier key in text, `<name>+<id>+<key>`: what an outsider needs to check a note. */
export function vkey(name: string, key: KeyObject): string {
  const raw = rawPublic(key)
  return `${checkName(name)}+${idOf(name, raw).toString('hex')}+${Buffer.concat([Buffer.of(ed25519), raw]).toString('base64')}`
}

/** The same of a key that was read from such a text. */
export const vkeyText = ({ name, key }: Verifier): string => vkey(name, key)

/** @throws SallyportError `bad_request` when the text is no Ed25519 verifier key or its id does not fit. */
export function parseVkey(text: string): Verifier {
  const match = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/u.exec(text.trim())
  const bytes = Buffer.from(match?.[3] ?? '', 'base64')
  if (!match || bytes.length !== 33 || bytes[0] !== ed25519) {
    throw new SallyportError(
      'bad_request',
      'this is no verifier key: expected <name>+<8 hex digits>+<base64 of an Ed25519 key>',
    )
  }
  const raw = bytes.subarray(1)
  const keyId = idOf(match[1]!, raw)
  if (keyId.toString('hex') !== match[2])
    throw new SallyportError('bad_request', 'the id in this verifier key does not belong to its key')
  return {
    name: match[1]!,
    keyId,
    key: createPublicKey({ key: Buffer.concat([spki, raw]), format: 'der', type: 'spki' }),
  }
}

/** Signs `text`, which must end in a newline. */
export function signNote(text: string, name: string, key: KeyObject): string {
  if (!text.endsWith('\n')) throw new TypeError('the text of a note ends in a newline')
  const signature = Buffer.concat([idOf(checkName(name), rawPublic(key)), sign(null, Buffer.from(text, 'utf8'), key)])
  return `${text}\n— ${name} ${signature.toString('base64')}\n`
}

/** The text of a note that carries a good signature by this verifier, or null. Signatures of others are passed over. */
export function openNote(note: string, verifier: Verifier): string | null {
  if (note.length > 100_000) return null
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n')) return null
  const text = note.slice(0, end + 1)
  for (const line of note.slice(end + 2, -1).split('\n')) {
    const match = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u.exec(line)
    if (!match) return null
    const signature = Buffer.from(match[2]!, 'base64')
    if (match[1] !== verifier.name || !signature.subarray(0, 4).equals(verifier.keyId)) continue
    if (verify(null, Buffer.from(text, 'utf8'), verifier.key, signature.subarray(4)) !== true) return null
    return text
  }
  return null
}

export interface Checkpoint {
  readonly origin: string
  readonly size: number
  readonly root: Buffer
}

/** The text of a checkpoint: https://c2sp.org/tlog-checkpoint. */
export function checkpointText({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`
}

/** What a checkpoint's text says, or null where it is none. Extension lines are passed over. */
export function parseCheckpoint(text: string): Checkpoint | null {
  const [origin, size, root] = text.split('\n')
  if (!origin || !/^(0|[1-9]\d{0,15})$/.test(size ?? '') || !/^[A-Za-z0-9+/]{43}=$/.test(root ?? '')) return null
  const checkpoint = { origin, size: Number(size), root: Buffer.from(root!, 'base64') }
  return Number.isSafeInteger(checkpoint.size) ? checkpoint : null
}

/** The keys that have signed a log, each up to the size at which it was handed over (handover.ts). */
export interface KeyChain {
  readonly name: string
  readonly links: readonly {
    readonly verifier: Verifier
    readonly until: number
    /** Of the log of that size: the key signs no other. */
    readonly root?: Buffer | undefined
  }[]
}

/** Whom one trusts: one key, or keys that were handed over. */
export type Trust = Verifier | KeyChain

export const linksOf = (trust: Trust): KeyChain['links'] =>
  'links' in trust ? trust.links : [{ verifier: trust, until: Number.POSITIVE_INFINITY }]

/** The checkpoint of a note with a good signature whose origin is the signer's name, or null. */
export function openCheckpoint(note: string, trust: Trust): Checkpoint | null {
  for (const { verifier, until, root } of linksOf(trust)) {
    const text = openNote(note, verifier)
    const checkpoint = text === null ? null : parseCheckpoint(text)
    if (checkpoint?.origin !== verifier.name || checkpoint.size > until) continue
    if (checkpoint.size < until || root === undefined || checkpoint.root.equals(root)) return checkpoint
  }
  return null
}

/**
 * The size at which the key of this note was handed over, where that is more than the note speaks of: who still has the key
 * can sign other logs of fewer entries, which only a comparison with the one that went on shows. Null for a key that signs now.
 */
export function handedOverAt(note: string, trust: Trust): number | null {
  const signer = linksOf(trust).find(({ verifier }) => openNote(note, verifier) !== null)
  const size = parseCheckpoint(note)?.size ?? 0
  return signer !== undefined && Number.isFinite(signer.until) && size < signer.until ? signer.until : null
}
