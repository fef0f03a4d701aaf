import { isUtf8 } from 'node:buffer'

/**
 * A name of the repository as text, the same for the same bytes and for no others: UTF-8 stays as it is; a byte that is none,
 * or that would not print, is `\xNN`, and a backslash is two.
 */
export function escapeName(name: Buffer): string {
  if (isUtf8(name)) return escapeText(name.toString('utf8'))
  let out = ''
  for (let at = 0; at < name.length; ) {
    const length = sequence(name, at)
    if (length === 0) out += hex(name[at++]!)
    else {
      out += escapeText(name.toString('utf8', at, at + length))
      at += length
    }
  }
  return out
}

const unprintable = /[\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu
const escapeText = (text: string): string =>
  text.replace(unprintable, c => (c === '\\' ? '\\\\' : [...Buffer.from(c)].map(hex).join('')))
const hex = (byte: number): string => `\\x${byte.toString(16).padStart(2, '0')}`

/** Length of the UTF-8 sequence that begins here; 0 where none does. */
function sequence(bytes: Buffer, at: number): number {
  for (let length = 1; length <= 4; length++) {
    if (at + length <= bytes.length && isUtf8(bytes.subarray(at, at + length))) return length
  }
  return 0
}
