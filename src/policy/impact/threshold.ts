import { SallyportError } from '../../errors.ts'
import { type Change, changes } from './compare.ts'
import type { ImpactReport } from './impact.ts'

/** `any`: changes of every kind. `skipped`: recorded questions that could not be judged again. */
type Counter = Change | 'any' | 'skipped'

const counters: readonly Counter[] = [...changes, 'any', 'skipped']

export type Thresholds = ReadonlyMap<Counter, number>

/** Reads `denied:0,allowed:10`: more than so many fail. @throws SallyportError for anything else. */
export function readThresholds(text: string): Thresholds {
  const found = new Map<Counter, number>()
  for (const part of text.split(',')) {
    const [, name, most] = /^\s*([a-z_]+):(\d{1,12})\s*$/.exec(part) ?? []
    if (name === undefined || !(counters as readonly string[]).includes(name))
      throw new SallyportError('bad_request', `${JSON.stringify(part)} is no threshold`, {
        remedy: `write KIND:MOST, several with commas; kinds are ${counters.join(', ')}`,
      })
    found.set(name as Counter, Number(most))
  }
  return found
}

/** What passes its threshold, in words. A report that judged nothing passes none: it says nothing about the change. */
export function exceeded(report: ImpactReport, thresholds: Thresholds): string[] {
  if (thresholds.size === 0) return []
  if (report.judged === 0 && !report.identical)
    return ['no recorded question could be judged, so nothing is known of this change']
  return [...thresholds].flatMap(([counter, most]) => {
    const count = countOf(report, counter)
    return count > most ? [`${counter}: ${count}, and at most ${most} may be`] : []
  })
}

function countOf({ changes, skipped }: ImpactReport, counter: Counter): number {
  if (counter === 'any') return sum(changes)
  return counter === 'skipped' ? sum(skipped) : changes[counter]
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}
