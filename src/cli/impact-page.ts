import { type Change, changes, type Side } from '../policy/impact/compare.ts'
import type { Group } from '../policy/impact/groups.ts'
import type { ImpactReport } from '../policy/impact/impact.ts'
import { instant, plain } from './output.ts'

export const titles: Record<Change, string> = {
  denied: 'newly denied',
  allowed: 'newly allowed',
  asked: 'newly asked',
  terms: 'other terms',
  masking: 'masking changes',
  recording: 'recording changes',
  retention: 'retention changes',
  alerts: 'alerts change',
  decision_log: 'what the log erases changes',
}
const shownGroups = 50
/** A comment on a pull request is cut at 65,536 characters by those who show it. */
const maxMarkdown = 60_000

const number = (count: number) => count.toLocaleString('en-US')

/** What a person reads on a terminal. */
export function impactText(report: ImpactReport): string {
  const lines = [`${named(report.base)} → ${named(report.head)}`, ...basis(report)]
  for (const change of changes) {
    const count = report.changes[change]
    if (count === 0 && !['denied', 'allowed', 'asked'].includes(change)) continue
    const groups = report.groups.filter(group => group.change === change)
    lines.push('', `${titles[change]}: ${number(count)}${people(groups)}`)
    for (const group of groups.slice(0, shownGroups)) lines.push(...groupText(group))
    if (groups.length > shownGroups)
      lines.push(`  … and ${number(groups.length - shownGroups)} more groups; --format json has them`)
  }
  return lines.concat(rest(report)).join('\n')
}

/** One group on a terminal. */
export function groupText(group: Group): string[] {
  return [
    `  ${number(group.count)} × ${plain(who(group))}${what(group)} at ${group.point}`,
    ...group.details.map(detail => `      ${plain(detail)}`),
    ...(group.details.length > 0 ? [] : [`      was ${sideText(group.before)}`, `      is  ${sideText(group.after)}`]),
    `      for example ${group.examples.map(plain).join(' ')}, last ${when(group.last_at_ms)}`,
  ]
}

function sideText(side: Side): string {
  const code = side.code === 'policy' ? '' : ` (${side.code})`
  const reasons = side.reasons.map(({ rule, at, message }) => `${rule} ${at}: ${message}`)
  return `${side.effect}${code}${reasons.length === 0 ? '' : ` by ${plain(reasons.join('; '))}`}`
}

/** What a reviewer reads below a pull request. Everything from elsewhere stands in code: it mentions and formats nothing. */
export function impactMarkdown(report: ImpactReport, failures: readonly string[] = []): string {
  const lines = [`## Policy impact: ${code(report.base.name)} → ${code(report.head.name)}`, '']
  lines.push(...failures.map(failure => `**Too many:** ${failure}`), ...basis(report), '')
  lines.push('| | decisions | people |', '|---|---:|---:|')
  for (const change of changes) {
    const groups = report.groups.filter(group => group.change === change)
    if (report.changes[change] > 0 || ['denied', 'allowed', 'asked'].includes(change))
      lines.push(`| ${titles[change]} | ${number(report.changes[change])} | ${subjects(groups)} |`)
  }
  let size = lines.join('\n').length
  for (const change of changes) {
    const groups = report.groups.filter(group => group.change === change)
    if (groups.length === 0) continue
    const section = ['', `### ${titles[change][0]!.toUpperCase()}${titles[change].slice(1)}`, '']
    section.push('| times | who | resource | as | point | what | example |', '|---:|---|---|---|---|---|---|')
    const rows = groups.slice(0, shownGroups).map(groupRow)
    if (groups.length > shownGroups) rows.push(`| … | ${number(groups.length - shownGroups)} more groups | | | | | |`)
    for (const row of [...section, ...rows]) {
      if ((size += row.length + 1) > maxMarkdown)
        return [...lines, '', '*The report is longer; `--format json` has all of it.*'].join('\n')
      lines.push(row)
    }
  }
  return lines.concat(rest(report)).join('\n')
}

function groupRow(group: Group): string {
  const difference =
    group.details.length > 0
      ? group.details.map(code).join('<br>')
      : `was ${sideCode(group.before)}<br>is ${sideCode(group.after)}`
  const cells = [number(group.count), code(who(group)), code(group.resource ?? '–'), code(group.role ?? '–')]
  return `| ${[...cells, group.point, difference, code(group.examples[0] ?? '')].join(' | ')} |`
}

function sideCode(side: Side): string {
  const code_ = side.code === 'policy' ? '' : ` (${side.code})`
  return `**${side.effect}**${code_}${side.reasons.map(reason => `, ${code(`${reason.rule} ${reason.at}`)}`).join('')}`
}

/** A bar would end its cell, and a backslash before it would keep it from being escaped: another bar is shown. */
function code(text: string): string {
  return text === '' ? '' : `\`${plain(text).replaceAll('`', "'").replaceAll('|', '¦')}\``
}

/** What was judged, and what could not be. */
function basis(report: ImpactReport): string[] {
  if (report.identical) return ['The two compile to the same bundle: nothing can be answered differently.']
  if (report.judged === 0)
    return ['No recorded decision could be judged again: this says nothing about the change.', ...left(report)]
  const span = report.first_at_ms === null ? '' : `, from ${when(report.first_at_ms)} to ${when(report.last_at_ms!)}`
  const changed = Object.values(report.changes).reduce((sum, count) => sum + count, 0)
  return [
    `${number(report.judged)} recorded decisions were judged again${span}: ${number(changed)} come out differently, ${number(report.reworded)} by other rules with the same effect.`,
    ...left(report),
  ]
}

function left({ skipped, partial }: ImpactReport): string[] {
  const said: string[] = []
  if (skipped.not_recorded > 0) said.push(`${number(skipped.not_recorded)} had no input that could be judged even then`)
  if (skipped.misfit > 0)
    said.push(
      `${number(skipped.misfit)} lack what this version judges, erased from the log or recorded by another version`,
    )
  if (skipped.unreadable > 0) said.push(`${number(skipped.unreadable)} lines are no decisions`)
  const lines = said.length === 0 ? [] : [`Not judged: ${said.join('; ')}.`]
  if (partial > 0) lines.push(`${number(partial)} were judged without what the log erased or masked of their input.`)
  return lines
}

function rest(report: ImpactReport): string[] {
  return report.left === 0 ? [] : ['', `${number(report.left)} more changes belong to groups that are not listed.`]
}

function named({ name, commit }: ImpactReport['base']): string {
  return commit.startsWith(name) ? commit.slice(0, 12) : `${plain(name)} (${commit.slice(0, 12)})`
}

function who({ subject }: Group): string {
  return subject === null ? 'the system' : `${subject.name} (${subject.id})`
}

function what({ resource, role, point }: Group): string {
  const as = role === null ? '' : point === 'admin' ? ` calling ${plain(role)}` : ` as ${plain(role)}`
  return `${as}${resource === null ? '' : ` on ${plain(resource)}`}`
}

function people(groups: readonly Group[]): string {
  const count = subjects(groups)
  return count === 0 ? '' : ` (${number(count)} ${count === 1 ? 'subject' : 'subjects'})`
}

function subjects(groups: readonly Group[]): number {
  return new Set(groups.flatMap(group => (group.subject === null ? [] : [group.subject.id]))).size
}

function when(at_ms: number): string {
  return at_ms === 0 ? 'an unknown time' : instant(at_ms)
}
