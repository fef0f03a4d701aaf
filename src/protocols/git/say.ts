import type { Verdict } from '../../gateway/protocol.ts'

/** The shells' word for "found, but may not be run". */
export const refusedStatus = 126

type Words = Pick<Verdict, 'message' | 'detail' | 'remedy'>

/** What a person reads, line by line; git shows each behind `remote:`. */
export function denialLines({ message, detail, remedy }: Words): string[] {
  return [message, detail, remedy && `→ ${remedy}`].filter(Boolean).map(line => `sallyport: ${line}`)
}

export function denialLine(words: Words): string {
  return denialLines(words).join('\n')
}
