import { WireError } from './pkt-line.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A line of words, without the one newline at its end. @throws WireError for what is no UTF-8 or holds control characters. */
export function textOf(payload: Buffer): string {
  const bytes = payload.at(-1) === 10 ? payload.subarray(0, -1) : payload
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw new WireError('a line that is not UTF-8')
  }
  if (/[\p{Cc}\u2028\u2029]/u.test(text)) throw new WireError('a line with control characters')
  return text
}

/** The same where the line counts and not its letters: what is no word of it is a question mark. */
export function wordsOf(payload: Buffer): string {
  const bytes = payload.at(-1) === 10 ? payload.subarray(0, -1) : payload
  return bytes.toString('utf8').replace(/\x1b\[[0-9;]{0,32}m|[\p{Cc}\u2028\u2029]/gu, '?')
}

/** A server's last word, in the place of any line: git's clients show it to their person. */
export function isError(payload: Buffer): boolean {
  return payload.toString('latin1', 0, 4) === 'ERR '
}
