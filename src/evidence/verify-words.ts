import type { Findings, FindingsReport } from './findings.ts'
import type { BundleFacts } from './format.ts'
import type { FactCheck } from './verify-facts.ts'
import type { LogCheck } from './verify-log.ts'
import type { WitnessCheck } from './witnesses.ts'

/** What was checked of a bundle, apart from its recordings, which speak for themselves. */
export interface Checked {
  readonly log: LogCheck
  readonly rows: FactCheck
  readonly facts: BundleFacts
  readonly witnesses: WitnessCheck
  /** Whether there is a recording in it. */
  readonly recordings: boolean
  /** The key, where nobody but the bundle names it. */
  readonly unvouched: string | null
}

/** Says in plain words what follows from a bundle, and what does not. */
export function sayBundle(found: Findings, checked: Checked): void {
  const { log, rows, facts } = checked
  const { proved, not_proved } = found
  const { counts } = rows
  const { origin, size } = log.checkpoint
  proved.unshift(
    `${origin} signed a log of ${size} entries; each of the ${log.count} events here is the entry of it that it is said to be`,
  )
  if (counts.requests > 0)
    proved.push(
      `${counts.requests} requests with ${counts.votes} votes are as the log says: who asked, for what, why, who answered what`,
    )
  if (counts.sessions > 0) proved.push(`${counts.sessions} sessions began and ended as the log says`)
  const covered = counts.decisions - counts.waiting
  if (covered > 0) proved.push(`${covered} decisions are, byte for byte, what was written down when they were made`)
  if (!checked.recordings && counts.sessions > 0)
    not_proved.push('what was done in the sessions: no recording is in the bundle')
  if (log.outside.length > 0)
    proved.push(
      `the log is a continuation of the checkpoints that were kept outside, as whoever exported this says: ${log.outside.join(' entries, ')} entries`,
    )
  else
    not_proved.push(
      'that the log shown to you is the one shown to others: compare its checkpoint with a copy kept outside',
    )
  checked.witnesses.say(proved, not_proved)
  if (checked.unvouched !== null)
    not_proved.unshift(
      `who signed: the key was taken from the bundle itself (${checked.unvouched}); give the key that you know with --key`,
    )
  for (const { what, why } of facts.withheld) not_proved.push(`${what}: withheld from whoever exported this (${why})`)
  if (log.erased > 0) not_proved.push(`what ${log.erased} events said: their bodies were erased`)
  if (counts.unsaid > 0) not_proved.push(`${counts.unsaid} rows of which the log says nothing any more`)
  if (counts.reworded > 0)
    not_proved.push(
      `what was asked in ${counts.reworded} requests: their words were erased, and without them their hash binds nothing`,
    )
  if (counts.waiting > 0) not_proved.push(`that ${counts.waiting} decisions stand in the log: they have no path to it`)
  if (counts.hidden > 0)
    not_proved.push(`the whole input of ${counts.hidden} decisions: the log was told to leave parts of it out`)
  if (counts.decisions > 0)
    not_proved.push(
      'that the policies give these answers: `sallyport verify --recompute` computes them again, with the command `opa` as second judge',
    )
  not_proved.push('that the log holds nothing else about the same people, requests and sessions')
  not_proved.push('that what the events say is true: only that it was recorded so, then')
}

/** What a key that was handed over proves no more. */
export const endedKey = (size: number): string =>
  `that this is the log that went on: it is signed by a key that was handed over at ${size} entries, with which whoever kept it can still sign smaller logs; ask for a newer one`

/** A report as lines for a person; the command line and the script say the same. */
export function reportLines(report: FindingsReport): string[] {
  return [
    ...report.proved.map(text => `proved: ${text}`),
    ...report.not_proved.map(text => `not proved: ${text}`),
    ...report.flaws.map(text => `FLAW: ${text}`),
    report.ok ? 'Everything in this bundle verifies.' : 'This bundle does NOT verify.',
  ]
}
