import { canonical, digest, type Json } from '../canonical.ts'
import type { StoredDecision } from './log/decision-store.ts'
import { type Change, type ChangeKind, nearby } from './nearby.ts'
import { Pace } from './pace.ts'
import { type ApprovalTerms, type Input, type Point, points } from './points.ts'
import type { Sources } from './repository/sources.ts'
import type { PastRevision } from './weigh.ts'

/** What would have been needed instead: one thing changed, or two where one is not enough; everything else as it was. */
export interface Instead {
  readonly kind: ChangeKind
  /** Values that each do it; one for kinds where the first is enough. */
  readonly values: readonly string[]
  readonly effect: 'allow' | 'ask'
  /** Where no single change is enough: what has to be changed as well. */
  readonly with?: { readonly kind: ChangeKind; readonly value: string }
}

export interface ExplainedRule {
  readonly rule: string
  readonly message: string
  readonly remedy?: string | undefined
  readonly at?: string | undefined
  /** The rule as it stands in the sources of the revision. */
  readonly source: readonly { readonly line: number; readonly text: string }[]
}

export interface Explanation {
  readonly facts: readonly { readonly path: string; readonly value: string }[]
  readonly rules: readonly ExplainedRule[]
  /** Who would have to approve, where that is what it takes. */
  readonly approval: ApprovalTerms | null
  readonly instead: readonly Instead[]
  /** How many questions that differ in one thing, or in two, were weighed. */
  readonly weighed: number
  /** Why nothing could be weighed, or what was seen that should not be. */
  readonly notes: readonly string[]
}

const rank = { deny: 0, ask: 1, allow: 2, data: 2 } as const
/** Of these kinds the first that helps says it all: the longest time, the next hour. */
const firstOnly: ReadonlySet<ChangeKind> = new Set<ChangeKind>(['duration', 'time'])
const longestRule = 24
/** Questions that differ in two things, in all: some tens of milliseconds of the process that explains. */
const maxPairs = 1_000
/** Of its time, in all, where a policy is slow. */
const longest_ms = 1_000

/**
 * Why a decision came out as it did, and what would have been needed instead: found by asking the same revision questions
 * that differ from the one that was asked in one thing. Nothing of it is guessed; what cannot be computed is said.
 */
export async function explain(
  row: StoredDecision,
  revision: PastRevision | undefined,
  groups: readonly string[],
): Promise<Explanation> {
  const input = JSON.parse(row.input) as unknown
  const result = JSON.parse(row.result) as { approval?: ApprovalTerms } | null
  return {
    facts: factsOf(input),
    rules: row.reasons.map(reason => ({ ...reason, source: sourceOf(reason.at, revision?.sources ?? null) })),
    approval: row.effect === 'ask' ? (result?.approval ?? null) : null,
    ...(await weighAround(row, input as Input<Point>, revision, groups)),
  }
}

async function weighAround(
  row: StoredDecision,
  input: Input<Point>,
  revision: PastRevision | undefined,
  groups: readonly string[],
): Promise<Pick<Explanation, 'instead' | 'weighed' | 'notes'>> {
  const nothing = (...notes: string[]) => ({ instead: [], weighed: 0, notes })
  const point = row.point as Point
  if (row.effect === 'allow' || row.effect === 'data') return nothing()
  if (!Object.hasOwn(points, point) || revision === undefined)
    return nothing('the revision is not there: what would have been needed cannot be computed')
  const shown = input === null ? undefined : whole(row, input)
  if (shown === undefined)
    return nothing('not all of the input was kept: what would have been needed cannot be computed')
  const again = revision.weigh(point, shown).effect
  const notes = shown === input ? [] : ['claims of the identity provider were not kept: it is weighed without them']
  if (again !== row.effect) {
    if (row.code === 'policy')
      return nothing(`computed again it comes out as ${again}: check it with \`sallyport verify-decision ${row.id}\``)
    notes.push(`it was refused before policy was asked (${row.code}); policy itself says ${again}`)
  }
  const found = new Map<string, Instead & { values: string[] }>()
  let weighed = 0
  const around = { groups: groupsOf(revision, groups), data: revision.data }
  const add = (kind: ChangeKind, value: string, effect: string, other?: Instead['with']) => {
    if ((effect !== 'allow' && effect !== 'ask') || rank[effect] <= rank[row.effect]) return
    const key = `${kind} ${effect} ${other?.kind}`
    const same = found.get(key)
    if (same === undefined) found.set(key, { kind, values: [value], effect, ...(other && { with: other }) })
    else if (!firstOnly.has(kind)) same.values.push(value)
  }
  const isDone = (kind: ChangeKind, other?: ChangeKind) =>
    firstOnly.has(kind) &&
    [...found.values()].some(each => each.kind === kind && each.with?.kind === other && each.effect === 'allow')
  /** The first change of each kind that takes a reason away, though it does not help by itself. */
  const halves = new Map<ChangeKind, Change>()
  const reasons = rulesOf(revision.weigh(point, shown))
  const pace = new Pace(longest_ms)
  for (const change of nearby(point, shown, around)) {
    if (isDone(change.kind)) continue
    if (!(await pace.goOn())) break
    weighed++
    const answer = revision.weigh(point, change.input)
    add(change.kind, change.value, answer.effect)
    if (!halves.has(change.kind) && rulesOf(answer) !== reasons) halves.set(change.kind, change)
  }
  let pairs = 0
  for (const { kind, value, input: half } of found.size > 0 ? [] : halves.values()) {
    for (const change of nearby(point, half, around)) {
      if (change.kind === kind || isDone(change.kind, kind) || found.has(`${kind} ask ${change.kind}`)) continue
      if (pairs >= maxPairs || !(await pace.goOn())) break
      pairs++
      add(change.kind, change.value, revision.weigh(point, change.input).effect, { kind, value })
    }
  }
  weighed += pairs
  if (pace.over) notes.push('this policy is slow: not all was weighed that might have helped')
  return { instead: [...found.values()].sort((a, b) => rank[b.effect] - rank[a.effect]), weighed, notes }
}

const rulesOf = ({ reasons }: { readonly reasons: readonly { readonly rule: string }[] }) =>
  reasons.map(reason => reason.rule).join(' ')

/**
 * The input as it was judged; without claims where these alone were hidden, as the starter policies ask for.
 * @returns undefined where something else of it is missing.
 */
function whole(row: StoredDecision, input: Input<Point>): Input<Point> | undefined {
  const hidden = [...row.erased, ...row.masked].filter(path => /^\/input(\/|$)/.test(path))
  if (hidden.length === 0) return digest(canonical(input as unknown as Json)) === row.input_digest ? input : undefined
  if (!hidden.every(path => path === '/input/subject/claims' || path.startsWith('/input/subject/claims/')))
    return undefined
  const { subject } = input as Input<'admin'>
  return { ...input, subject: { ...subject, claims: {} } } as Input<Point>
}

/** Groups that may make a difference: people's, those of the data, and words of the policies that look like one. */
function groupsOf({ data, sources }: PastRevision, known: readonly string[]): string[] {
  return [...new Set([...known, ...Object.keys(data.roles), ...groupsSaid(sources ?? new Map())])].sort()
}

/** Words that policies compare groups with, or name. Whether one is a group is not known; what it would change is computed. */
export function groupsSaid(sources: Sources): string[] {
  const said = new Set<string>()
  for (const [path, content] of sources) {
    if (!path.endsWith('.rego') || path.endsWith('_test.rego')) continue
    const text = content.toString('utf8')
    for (const pattern of [named, compared]) for (const [, word] of text.matchAll(pattern)) said.add(word!)
  }
  return [...said].slice(0, 100)
}

const compared = /"([a-z][a-z0-9_-]{1,62})"\s+in\s+input\.subject\.groups/g
const named = /^\w+ := "([a-z][a-z0-9_-]{1,62})"$/gm

/** The rule at `file:line@commit`, up to its end or as far as anybody reads. */
function sourceOf(at: string | undefined, sources: Sources | null): ExplainedRule['source'] {
  const place = /^(.+):(\d+)@/.exec(at ?? '')
  const text = place === null ? undefined : sources?.get(place[1]!)?.toString('utf8')
  if (place === null || text === undefined) return []
  const from = Number(place[2])
  const lines = text.split('\n').slice(from - 1, from - 1 + longestRule)
  const end = lines.findIndex((line, i) => /^[}\])]+\s*$/.test(line) || (i > 0 && line.trim() === ''))
  return lines.slice(0, end < 0 ? undefined : end + (lines[end]!.trim() === '' ? 0 : 1)).map((line, i) => ({
    line: from + i,
    text: line.slice(0, 400),
  }))
}

/** What was judged, a line a fact; instants as people read them. */
function factsOf(input: unknown): { path: string; value: string }[] {
  const facts: { path: string; value: string }[] = []
  const walk = (value: unknown, path: string) => {
    if (facts.length >= 400) return
    if (Array.isArray(value) && value.every(each => typeof each !== 'object' || each === null))
      facts.push({ path, value: value.length === 0 ? '–' : value.map(String).join(', ') })
    else if (typeof value === 'object' && value !== null) {
      const members = Object.entries(value)
      if (members.length === 0) facts.push({ path, value: '–' })
      for (const [name, member] of members) walk(member, path === '' ? name : `${path}.${name}`)
    } else facts.push({ path, value: shown(path, value) })
  }
  walk(input, '')
  return facts
}

function shown(path: string, value: unknown): string {
  if (value === null) return '–'
  if (path.endsWith('_at_ms') && typeof value === 'number' && Math.abs(value) <= 8.64e15)
    return new Date(value).toISOString()
  return String(value).slice(0, 1000)
}
