import type { CommandChannel, Hold, Shown, Verdict } from '../../gateway/protocol.ts'
import type { ActionFacts } from '../../policy/points.ts'
import { action, verbOf } from './actions.ts'
import type { SignatureFacts, UpdateFacts } from './facts.ts'
import { isScanned } from './options.ts'
import type { PushRequest } from './pack/commands.ts'
import type { Repository } from './repositories.ts'
import type { Update } from './updates.ts'

const mostLabel = 60

export interface PushKnown {
  readonly request: PushRequest
  readonly updates: readonly Update[]
  /** In the order of the updates. */
  readonly facts: readonly UpdateFacts[]
  readonly pack_bytes: number
  /** Approvers were asked: whoever waits tells the person. */
  begun(hold: Hold): void
}

/** One verdict for each update: each on its own, or all of an atomic push together. Resolves when nothing waits any more. */
export async function judgePush(
  channel: CommandChannel,
  repository: Repository,
  known: PushKnown,
): Promise<readonly Verdict[]> {
  const { updates, facts, request } = known
  const actions = updates.map((update, i) => actionsOf(repository, update, facts[i]!, known))
  for (const [i, update] of updates.entries()) record(channel, repository, update, facts[i]!)
  const one = (indices: readonly number[]): Verdict =>
    channel.opened.gate.judge(
      indices.flatMap(i => actions[i]!),
      {
        text: indices.map(i => wordsOf(repository, updates[i]!, facts[i]!)).join('\n'),
        extra: { channel: channel.id },
      },
      {
        title: titleOf(
          repository,
          indices.map(i => updates[i]!),
        ),
        shown: () => indices.flatMap(i => shownOf(updates[i]!, facts[i]!)),
      },
    )
  const all = updates.map((_, i) => i)
  const verdicts = request.capabilities.has('atomic') ? [one(all)] : all.map(i => one([i]))
  for (const { held } of verdicts) if (held !== undefined) known.begun(held)
  const settled = await Promise.all(verdicts.map(verdict => verdict.held?.settled ?? verdict))
  return settled.length === updates.length ? settled : updates.map(() => settled[0]!)
}

/** A ref that may be another name of others is judged as each of them. */
function actionsOf(
  { name, administration, resource }: Repository,
  { asked, perhaps }: Update,
  facts: UpdateFacts,
  { request, pack_bytes }: PushKnown,
): ActionFacts[] {
  const about = {
    repository: name,
    administration,
    asked,
    atomic: request.capabilities.has('atomic'),
    options: [...request.options],
    pack_bytes,
    scanned: isScanned(resource),
    ...facts,
  }
  const verb = verbOf(facts, administration)
  return [facts.ref, ...perhaps].map(ref => action('push', verb, { ...about, ref }))
}

const short = (id: string | null) => id?.slice(0, 12) ?? 'nothing'

/** Anybody can write anybody's name into a commit. */
function signedBy(signature: SignatureFacts): string {
  if (signature === null) return 'not signed'
  return signature.status === 'verified' ? `signed by ${signature.signer}` : `signature ${signature.status}`
}

function wordsOf({ name }: Repository, { asked }: Update, facts: UpdateFacts): string {
  const { ref, old, new: next, kind, commits_total, lost_total, paths_total } = facts
  const alias = asked === ref ? '' : ` (asked as ${asked})`
  return `push ${name} ${ref}${alias}: ${kind} ${short(old)} → ${short(next)}, ${commits_total} commits, ${paths_total} paths, ${lost_total} lost`
}

function titleOf({ name, administration }: Repository, updates: readonly Update[]): string {
  const refs = updates.map(each => each.ref.replace(/^refs\/(?:heads|tags)\//, ''))
  return `push to ${refs.slice(0, 3).join(', ')}${refs.length > 3 ? ` and ${refs.length - 3} more` : ''} of ${name}${administration ? ', which is the configuration of its server' : ''}`
}

/** In all, as far as lines could be counted. */
function diffstat({ paths, paths_total }: UpdateFacts): string {
  if (paths_total === 0) return ''
  const sum = (of: 'added' | 'removed') => paths.reduce((all, each) => all + (each[of] ?? 0), 0)
  const counted = paths.filter(({ added, removed }) => added !== null && removed !== null).length
  const files = `, ${paths_total} ${paths_total === 1 ? 'file' : 'files'}`
  if (counted === 0) return files
  return `${files}, +${sum('added')} −${sum('removed')}${counted < paths_total ? ` in ${counted} of them` : ''}`
}

/** What an approver reads: commits, paths and what is lost, as far as policy is told of them. */
function shownOf({ ref }: Update, facts: UpdateFacts): Shown[] {
  const list = (label: string, lines: readonly string[], total: number): Shown[] =>
    lines.length === 0 ? [] : [{ label: `${ref}: ${label}`, lines, more: total - lines.length }]
  const commits = facts.commits.map(
    each =>
      `${each.id.slice(0, 10)} ${each.author.name} <${each.author.email}> ${each.subject} [${signedBy(each.signature)}]`,
  )
  const paths = facts.paths.map(({ path, change, type, added, removed }) => {
    const what = type === 'file' ? '' : ` (${type})`
    const stat = added === null || removed === null ? '' : ` +${added} −${removed}`
    return `${change.slice(0, 1).toUpperCase()} ${path}${what}${stat}`
  })
  // What cannot be taken back comes first: where there is little room, the end is left out.
  return [
    {
      label: ref,
      // A label that is cut could be that of another ref.
      lines: [
        ...(ref.length > mostLabel ? [ref] : []),
        `${facts.kind}: ${short(facts.old)} → ${short(facts.new)}${diffstat(facts)}`,
        ...(facts.cut.includes('secrets') ? ['not all of it was looked through for secrets'] : []),
      ],
      whole: true,
    },
    ...list('commits that are lost', facts.lost, facts.lost_total),
    ...list(
      'secrets',
      facts.secrets.map(each => `${each.detector} in ${each.path}:${each.line}`),
      facts.secrets.length,
    ),
    ...list('commits', commits, facts.commits_total),
    ...list('paths', paths, facts.paths_total),
  ]
}

/** The timeline's entry: what was asked, before it is decided. */
function record(
  channel: CommandChannel,
  { name, administration }: Repository,
  { asked }: Update,
  facts: UpdateFacts,
): void {
  const { ref, old, new: next, kind, commits, commits_total, lost, lost_total, paths, paths_total, secrets } = facts
  const full = channel.opened.gate.settings.level === 'full'
  channel.opened.gate.record('git_push', {
    channel: channel.id,
    repository: name,
    ...(administration ? { administration } : {}),
    ref,
    ...(asked === ref ? {} : { asked }),
    old,
    new: next,
    change: kind,
    commits: commits.map(({ id, author, committer, subject, signature }) => ({
      id,
      author: author.email,
      committer: committer.email,
      ...(full ? { subject } : {}),
      signed: signature?.status ?? null,
    })),
    commits_total,
    lost,
    lost_total,
    ...(full
      ? { paths: paths.map(({ path, change, bytes, added, removed }) => ({ path, change, bytes, added, removed })) }
      : {}),
    paths_total,
    secrets: secrets.length,
  })
}
