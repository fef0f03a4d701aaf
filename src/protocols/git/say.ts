import type { CommandChannel, Verdict } from '../../gateway/protocol.ts'
import { WireError } from './pack/pkt-line.ts'
import type { Kept } from './push.ts'

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

/** What a peer sent cannot be followed: that is recorded. @returns the words for it. @throws what is a fault of ours. */
export function unreadable({ opened }: CommandChannel, who: string, error: unknown): string {
  if (!(error instanceof WireError)) throw error
  const message = `${who} sent ${error.message}`
  opened.gate.refuse({ rule: 'git.wire', message, text: null })
  return message
}

/** What who pushed reads of what their push took off the server: at three in the morning it is the line that counts. */
export function lostLines(resource: string, repository: string, { id, ref, commits, without }: Kept): string[] {
  const what = commits === 0 ? `the tag ${ref}` : `${commits} ${commits === 1 ? 'commit' : 'commits'} of ${ref}`
  if (without !== null)
    return [
      `sallyport: ${what} can be reached no more, and the gateway could not keep them: ${without}`,
      'sallyport: → whoever has them in a clone can push them again (git reflog)',
    ]
  return [
    `sallyport: ${what} can be reached no more. As long as this session is recorded, an admin brings back what it was:`,
    `sallyport: → sallyport git restore ${resource} ${repository} ${id}`,
  ]
}
