import { randomBytes } from 'node:crypto'

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

/** A new id: prefix, `_`, 26 characters of Crockford base32 (48 bits of milliseconds, 80 random bits), sortable by time. */
export function newId(prefix: IdPrefix): string {
  const bytes = Buffer.alloc(17)
  bytes.writeUIntBE(Date.now(), 1, 6)
  randomBytes(10).copy(bytes, 7)
  let bits = BigInt('0x' + bytes.toString('hex'))
  let text = ''
  for (let i = 0; i < 26; i++) {
    text = alphabet[Number(bits & 31n)] + text
    bits >>= 5n
  }
  return `${prefix}_${text}`
}

/** Whether text has exactly the shape that `newId` gives for this prefix. */
export function isId(prefix: IdPrefix, text: string): boolean {
  return text.length === prefix.length + 27 && text.startsWith(prefix + '_') && /^[0-9a-hjkmnp-tv-z]{26}$/.test(text.slice(-26))
}
