import type { Client } from './client.ts'
import type { DecisionAnswer } from './decisions.ts'
import { instant, jsonText, plain, say, span } from './output.ts'

interface ExplanationAnswer extends DecisionAnswer {
  readonly digest: string | null
  readonly subject: {
    readonly id: string
    readonly name: string | null
    readonly email: string | null
    readonly groups: readonly string[]
  } | null
  readonly facts: readonly { readonly path: string; readonly value: string }[]
  readonly rules: readonly {
    readonly rule: string
    readonly message: string
    readonly remedy?: string
    readonly at?: string
    readonly source: readonly { readonly line: number; readonly text: string }[]
  }[]
  readonly approval: Approval | null
  readonly instead: readonly {
    readonly kind: string
    readonly values: readonly string[]
    readonly effect: string
    readonly with?: { readonly kind: string; readonly value: string }
  }[]
  readonly weighed: number
  readonly notes: readonly string[]
  readonly erased: readonly string[]
  readonly masked: readonly string[]
}

export interface Approval {
  readonly stages: readonly { readonly approvers: readonly string[]; readonly quorum: number }[]
}

/** Says why a decision came out as it did: who, what was judged, by which rules, and what would have been needed instead. */
export async function explain(client: Client, id: string, options: { json?: boolean }): Promise<void> {
  const why = await client.get<ExplanationAnswer>(`/api/decisions/${encodeURIComponent(id)}/explanation`)
  if (options.json) return say(jsonText(why, 2))
  const times = why.count > 1 ? `, ${why.count} times` : ''
  const effect = why.code === 'policy' ? why.effect : `${why.effect} (${why.code})`
  say(`${why.id}: ${why.point} → ${effect}, ${instant(why.at_ms)}${times}`)
  if (why.generation !== null) say(`  revision ${why.generation}, commit ${why.commit}, digest ${why.digest}`)
  if (why.session_id !== null) say(`  session ${why.session_id}`)
  if (why.request_id !== null) say(`  request ${why.request_id}`)
  sayWho(why)
  say('\nJudged:')
  const hidden = [...why.erased, ...why.masked]
  if (hidden.length > 0) say(`  (not kept: ${hidden.map(plain).join(', ')})`)
  const width = Math.min(36, Math.max(0, ...why.facts.map(fact => fact.path.length)))
  for (const { path, value } of why.facts) say(`  ${plain(path).padEnd(width)}  ${plain(value)}`)
  sayRules(why)
  if (why.approval !== null) say(`\nIt takes the word of ${stagesOf(why.approval)}.`)
  sayInstead(why)
}

function sayWho({ subject, resource }: ExplanationAnswer): void {
  if (subject === null) return
  const mail = subject.email === null ? '' : ` <${plain(subject.email)}>`
  const groups = subject.groups.length === 0 ? 'in no group' : `in ${subject.groups.map(plain).join(', ')}`
  const where = resource === null ? '' : ` · ${plain(resource)}`
  say(`  ${plain(subject.name ?? subject.id)}${mail}, ${groups}${where}`)
}

function sayRules({ rules }: ExplanationAnswer): void {
  say(rules.length === 0 ? '\nPolicy gave no reason.' : '\nBecause:')
  for (const { rule, message, remedy, at, source } of rules) {
    say(`  ${plain(message)}`)
    say(`    rule ${plain(rule)}${at === undefined ? '' : `, ${plain(at)}`}`)
    for (const { line, text } of source) say(`    ${String(line).padStart(5)} │ ${plain(text.replaceAll('\t', '  '))}`)
    if (remedy !== undefined) say(`    next: ${plain(remedy)}`)
  }
}

function sayInstead({ effect, instead, weighed, notes }: ExplanationAnswer): void {
  if (effect === 'allow' || effect === 'data') return
  if (instead.length > 0) say('\nEverything else as it was, it would have been')
  for (const { kind, values, effect: other, with: also } of instead) {
    const both = also === undefined ? '' : `${phrase(also.kind, [also.value])} and `
    say(`  ${other.padEnd(5)} ${both}${phrase(kind, values)}`)
  }
  for (const note of notes) say(`\nNote: ${plain(note)}.`)
  if (weighed > 0 && instead.length === 0)
    say(
      `\nNo one or two changes help: ${weighed} questions that differ in them (group, role, time, …) come out no better.`,
    )
}

const one = (values: readonly string[]) => plain(values[0] ?? '')

function phrase(kind: string, values: readonly string[]): string {
  const list = values.slice(0, 12).map(plain).join(', ') + (values.length > 12 ? `, … (${values.length})` : '')
  switch (kind) {
    case 'group':
      return `in the group ${values.length === 1 ? list : `${list} (any of these)`}`
    case 'role':
      return `as ${values.length === 1 ? list : `${list} (any of these)`}`
    case 'time':
      return `at ${instant(Number(values[0]))}`
    case 'duration':
      return `for ${span(Number(values[0]))} or less`
    case 'ticket':
      return `with the number of a ticket (tried: ${one(values)})`
    case 'own':
      return 'if it were their own'
    case 'person':
      return 'by a person who signed in, not by a token'
    case 'reason':
      return 'with a reason (-m)'
    case 'view':
      return `with the ${one(values)} view`
    default:
      return `${plain(kind)}: ${list}`
  }
}

/** `1 of dbas, then 1 of security-admins` */
export function stagesOf({ stages }: Approval): string {
  return stages.map(stage => `${stage.quorum} of ${stage.approvers.map(plain).join(', ')}`).join(', then ')
}
