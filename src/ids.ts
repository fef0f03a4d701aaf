import { createHash, randomFillSync } from 'node:crypto'

const randomBytesOfOne = 10
/** Fetched for many ids at once: a call to the system costs more than all the rest of one. INVARIANT: each byte is used once. */
const random = Buffer.allocUnsafeSlow(200 * randomBytesOfOne)
let unused = random.length

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

/** Prefixes name the kind of thing an id belongs to; they are part of the id everywhere. */
export type IdPrefix =
  | 'sub' // subject
  | 'tok' // API token
  | 'req' // request
  | 'vot' // vote
  | 'grt' // grant
  | 'tkt' // ticket
  | 'ses' // session
  | 'con' // connection
  | 'lea' // lease
  | 'dec' // decision
  | 'rec' // recording
  | 'evt' // audit event
  | 'prc' // process
  | 'hld' // legal hold
  | 'rvw' // review of a grant
  | 'prp' // proposal that a second person confirms

/** A new id: prefix, `_`, 26 characters of Crockford base32 (48 bits of milliseconds, 80 random bits), sortable by time. */
export function newId(prefix: IdPrefix): string {
  if (unused === random.length) {
    randomFillSync(random)
    unused = 0
  }
  const bytes = Buffer.alloc(17)
  bytes.writeUIntBE(Date.now(), 1, 6)
  random.copy(bytes, 7, unused, unused + randomBytesOfOne)
  unused += randomBytesOfOne
  return `${prefix}_${base32(bytes)}`
}

export function newIds(prefix: IdPrefix, count: number): string[] {
  return Array.from({ length: count }, () => newId(prefix))
}

/** The id that belongs to a text for ever: 128 bits of its SHA-256. For what several processes must name alike. */
export function derivedId(prefix: IdPrefix, text: string): string {
  const bytes = Buffer.alloc(17)
  createHash('sha256').update(text).digest().copy(bytes, 1, 0, 16)
  return `${prefix}_${base32(bytes)}`
}

/** 26 digits of five bits for the low 130 of 136 bits, the highest first. */
function base32(bytes: Buffer): string {
  let out = ''
  let bits = bytes[0]! & 3
  let have = 2
  for (let i = 1; i < 17; i++) {
    bits = ((bits << 8) | bytes[i]!) & 0xfff
    for (have += 8; have >= 5; ) {
      have -= 5
      out += alphabet[(bits >> have) & 31]
    }
  }
  return out
}

/** Whether text has exactly the shape that `newId` gives for this prefix. */
export function isId(prefix: IdPrefix, text: string): boolean {
  return (
    text.length === prefix.length + 27 &&
    text.startsWith(prefix + '_') &&
    /^[0-9a-hjkmnp-tv-z]{26}$/.test(text.slice(-26))
  )
}
