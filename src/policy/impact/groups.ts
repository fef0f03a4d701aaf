import type { Point } from '../points.ts'
import type { Difference } from './compare.ts'
import type { Party, Recorded } from './events.ts'

/** Changes that are the same for a reader: one point, change, rule, subject and resource. */
export interface Group extends Party, Difference {
  readonly point: Point
  count: number
  first_at_ms: number
  last_at_ms: number
  /** A few decisions of the group, the smallest ids, so that two runs name the same. */
  examples: readonly string[]
}

const keptExamples = 3

/** Groups, as many as may be kept; what belongs to none of them is counted. */
export class Groups {
  readonly #limit: number
  readonly #groups = new Map<string, Group>()
  /** Changes whose group is not kept. */
  left = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  get size(): number {
    return this.#groups.size
  }

  add({ id, point, at_ms }: Pick<Recorded, 'id' | 'point' | 'at_ms'>, party: Party, difference: Difference): void {
    this.merge({ ...party, ...difference, point, count: 1, first_at_ms: at_ms, last_at_ms: at_ms, examples: [id] })
  }

  /** Takes a group that another half has counted. */
  merge(group: Group): void {
    const key = keyOf(group)
    const found = this.#groups.get(key)
    if (found !== undefined) join(found, group)
    else if (this.#groups.size < this.#limit) this.#groups.set(key, { ...group })
    else this.left += group.count
  }

  /** The largest first; groups of one size in the order of their keys. */
  list(): Group[] {
    return [...this.#groups].sort(([a, x], [b, y]) => y.count - x.count || (a < b ? -1 : 1)).map(([, group]) => group)
  }

  /** What was gathered, and starts anew. */
  take(): Group[] {
    const all = this.list()
    this.#groups.clear()
    return all
  }
}

function join(to: Group, from: Group): void {
  to.count += from.count
  to.first_at_ms = Math.min(to.first_at_ms, from.first_at_ms)
  to.last_at_ms = Math.max(to.last_at_ms, from.last_at_ms)
  to.examples = [...new Set([...to.examples, ...from.examples])].sort().slice(0, keptExamples)
}

/** What makes two changes the same. Its text is what a stored group is found by again. */
export function keyOf({
  point,
  change,
  before,
  after,
  subject,
  resource,
  role,
  details,
}: Omit<Group, 'count'>): string {
  const rules = [before, after].map(side => `${side.code} ${side.reasons.map(reason => reason.rule).join(' ')}`)
  return [point, change, subject?.id ?? '', resource ?? '', role ?? '', ...rules, ...details].join('\n')
}
