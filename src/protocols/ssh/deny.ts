import type { Refusal, Verdict } from '../../gateway/protocol.ts'

/** The exit status of what was refused: the shells' word for "found, but may not be run". */
export const refusedStatus = 126
const mostWords = 380 // OpenSSH shows 400 bytes of a disconnect

/** What a person reads on stderr. Terminals in raw mode want the carriage return. */
export function denial(verdict: Pick<Verdict, 'message' | 'detail' | 'remedy'>): string {
  const { message, detail, remedy } = verdict
  return `sallyport: ${[message, detail, remedy && `→ ${remedy}`].filter(Boolean).join('\r\nsallyport: ')}\r\n`
}

export function lastWords({ message, remedy }: Pick<Refusal, 'message' | 'remedy'>): string {
  const words = `sallyport: ${message}${remedy === '' ? '' : ` (${remedy})`}`
  return words.length > mostWords ? `${words.slice(0, mostWords - 1)}…` : words
}
