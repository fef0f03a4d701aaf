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
