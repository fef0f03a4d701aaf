import type { MeAnswer } from '../api/me.ts'
import type { StatusAnswer } from '../api/status.ts'
import type { Client } from './client.ts'
import { instant, plain, say, table } from './output.ts'

/** Prints who the caller is, as policy sees them. */
export async function whoami(client: Client): Promise<void> {
  const { subject, slack } = await client.get<MeAnswer>('/api/me')
  say(`${subject.name}${subject.email === null ? '' : ` <${subject.email}>`}  ${subject.id}`)
  say(`groups: ${subject.groups.join(', ') || 'none'} (as of ${instant(subject.groups_at_ms)})`)
  say(`slack: ${slack === null ? 'not linked' : `user ${slack.user_id} of workspace ${slack.team_id}`}`)
}

/** Prints what runs, which revision each process enforces, and what this deployment does not promise. */
export async function status(client: Client): Promise<void> {
  const answer = await client.get<StatusAnswer>('/api/status')
  say(`${answer.deployment}${answer.development ? ' (development)' : ''}`)
  say(
    answer.revision === null
      ? 'policy: NONE ACTIVE, everything is denied'
      : `policy: generation ${answer.revision.generation}, commit ${answer.revision.commit}, active since ${instant(answer.revision.activated_at_ms)}`,
  )
  table(
    ['process', 'role', 'host', 'pid', 'runs', 'state'],
    answer.processes.map(p => [
      p.id,
      p.role,
      p.host,
      String(p.pid),
      p.generation === null ? 'no revision' : `generation ${p.generation}`,
      p.ready,
    ]),
  )
  const { log } = answer
  say(
    `audit log: ${log.size} entries${log.checkpoint_at_ms === null ? '' : `, signed ${instant(log.checkpoint_at_ms)}`}${log.problem === null ? '' : `; NOT SIGNED FURTHER: ${plain(log.problem)}`}`,
  )
  if (log.places.length > 0)
    table(
      ['outside place', 'kind', 'holds', 'behind', 'state'],
      log.places.map(p => [
        p.name,
        p.kind,
        p.size === 0 ? 'nothing yet' : `${p.size} entries`,
        p.behind_entries === 0 ? '-' : `${p.behind_entries} entries, ${Math.round(p.behind_s)} s`,
        p.error === null ? 'ok' : `failing for ${Math.round(p.failing_s)} s: ${plain(p.error)}`,
      ]),
    )
  const builds = answer.processes.flatMap(({ builds }) =>
    Object.entries(builds).flatMap(([protocol, build]) => {
      const parts = Object.entries(build).map(([what, how]) => `${what} ${how}`)
      return parts.length === 0 ? [] : [`${protocol}: ${parts.join(', ')}`]
    }),
  )
  for (const line of new Set(builds)) say(line)
  for (const { id, role, decisions } of answer.processes) {
    if (decisions === null || (decisions.alarm === null && decisions.oldest_s < 2)) continue
    const waiting = `${decisions.waiting} decisions wait for the database, the oldest for ${decisions.oldest_s} s`
    say(
      plain(
        `${decisions.alarm === null ? 'note' : 'ALARM'}: ${role} ${id}: ${[decisions.alarm ?? [], waiting].flat().join('; ')}`,
      ),
    )
  }
  if (answer.exports.length > 0)
    table(
      ['export', 'delivered', 'behind', 'lag', 'state'],
      answer.exports.map(e => [
        e.name,
        e.exported_at_ms === null ? 'never' : instant(e.exported_at_ms),
        String(e.behind),
        `${e.lag_s} s`,
        stateOf(e),
      ]),
    )
  for (const { role, id, journal } of answer.processes) {
    if (journal === null || (journal.alarm === null && journal.failing_s === 0)) continue
    const mib = (bytes: number) => Math.ceil(bytes / 1_048_576)
    const spool = `${mib(journal.spool_bytes)} of ${mib(journal.spool_max_bytes)} MiB of its spool are taken`
    const what = journal.alarm ?? `recordings have not been shipped for ${journal.failing_s} s`
    say(`${journal.alarm === null ? 'note' : 'ALARM'}: ${role} ${id}: ${what}; ${spool}`)
  }
  for (const line of answer.promises) say(`note: ${line}`)
}

function stateOf({ alarm, failing_since_ms, last_error, lag_s }: StatusAnswer['exports'][number]): string {
  const mark = alarm ? 'ALARM: ' : ''
  if (failing_since_ms !== null) return `${mark}fails since ${instant(failing_since_ms)}: ${last_error ?? 'no reason'}`
  return alarm ? `${mark}it is ${lag_s} seconds behind` : 'delivers'
}
