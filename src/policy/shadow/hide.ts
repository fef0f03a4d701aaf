import type { Difference, Side } from '../impact/compare.ts'
import type { Party } from '../impact/events.ts'
import { maskedText } from '../log/hidden.ts'

/** What a divergence is told from: the question, and both answers. */
export interface Told {
  readonly input: unknown
  readonly results: readonly unknown[]
}

const maxLeaves = 1_000

/**
 * What the decision log leaves out or masks is not told by the shadow either: messages and terms quote what was asked. A
 * text that holds a hidden value is hidden whole; its rule and place stay.
 * @param hidden paths of `erase` and `mask`, as the active policy answered for this decision.
 */
export function hide<D extends Difference>(difference: D, party: Party, hidden: readonly string[], told: Told) {
  if (hidden.length === 0) return { difference, party }
  const leaves = new Set<string>()
  for (const path of hidden) {
    const [, root, ...steps] = path.split('/').map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    if (root === 'input') gather(at(told.input, steps), leaves)
    if (root === 'result') for (const result of told.results) gather(at(result, steps), leaves)
  }
  const quotes = (text: string) => [...leaves].some(leaf => text.toLowerCase().includes(leaf))
  const shown = (text: string) => (quotes(text) ? maskedText : text)
  const side = ({ reasons, ...rest }: Side): Side => ({
    ...rest,
    reasons: reasons.map(reason => ({ ...reason, message: shown(reason.message) })),
  })
  const { before, after, details } = difference
  const { subject } = party
  const nameless = hidden.some(path => ['/input', '/input/subject', '/input/subject/name'].includes(path))
  return {
    difference: { ...difference, before: side(before), after: side(after), details: [...new Set(details.map(shown))] },
    party: { ...party, subject: subject !== null && nameless ? { ...subject, name: maskedText } : subject },
  }
}

function at(value: unknown, steps: readonly string[]): unknown {
  let found = value
  for (const step of steps) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, step)) return undefined
    found = (found as Record<string, unknown>)[step]
  }
  return found
}

/** Texts and numbers below a value. More of them than anybody writes: then everything counts as quoted. */
function gather(value: unknown, leaves: Set<string>): void {
  if (leaves.size >= maxLeaves) leaves.add('')
  else if (typeof value === 'string' || typeof value === 'number') {
    const text = String(value).trim().toLowerCase()
    if (text !== '') leaves.add(text)
  } else if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) gather(each, leaves)
}
