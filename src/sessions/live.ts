import { sql } from 'drizzle-orm'
import { type AccessKey, type Cover, keyText, loadCovers } from '../approvals/access.ts'
import { clock } from '../approvals/clock.ts'
import { isVerdict, refusedBy } from '../approvals/refusal.ts'
import { loadSubjects } from '../approvals/subjects.ts'
import { canonical, digest } from '../canonical.ts'
import type { Queryable } from '../db/database.ts'
import { Permit } from '../policy/permit.ts'
import type { SubjectFacts } from '../policy/points.ts'
import { isFrom } from './from.ts'
import type { EndCode, SessionGround } from './ports.ts'
import { asHolder } from './present.ts'
import { decideCovers } from './tickets.ts'

/** A session that must end now, and why. */
export interface ToEnd {
  readonly session_id: string
  readonly code: EndCode
  readonly reason: string
  readonly remedy: string
  readonly decision_id: string | null
}

/** A session that goes on: until when, as policy and grants are now. */
export interface ToKeep {
  readonly session_id: string
  readonly grant_id: string
  readonly ends_at_ms: number
  readonly idle_s: number
  /** Who must watch; empty: nobody. */
  readonly moderators: readonly string[]
}

export interface Redecided {
  readonly end: readonly ToEnd[]
  readonly keep: readonly ToKeep[]
  /** Of those kept, the ones whose end or grant is no longer what their row says. */
  readonly moved: readonly ToKeep[]
}

interface LiveRow extends Record<string, unknown> {
  id: string
  subject_id: string
  resource: string
  role: string
  protocol: string
  grant_id: string
  opened_at_ms: string
  ends_at_ms: string
  end_code: EndCode | null
  end_reason: string | null
  revoke_reason: string | null
  token: SubjectFacts['token']
  on_behalf_of: string | null
  address: string
  application: string
  via: string
}

/**
 * Decides `access` again for every session with a connection on this process, from facts loaded in four queries
 * however many sessions there are. Sessions that ended elsewhere are among those to end.
 */
export async function redecideLive(
  ground: SessionGround,
  process_id: string,
  logged: Map<string, string>,
): Promise<Redecided> {
  const { rows, covers, subjects, now_ms } = await readLive(ground, process_id)
  const end: ToEnd[] = []
  const keep: ToKeep[] = []
  const moved: ToKeep[] = []
  for (const row of rows) {
    const judged = row.end_code === null ? judge(ground, row, covers, subjects, now_ms, logged) : endedElsewhere(row)
    if ('code' in judged) end.push(judged)
    else keep.push(judged)
    if (!('code' in judged) && (judged.ends_at_ms !== Number(row.ends_at_ms) || judged.grant_id !== row.grant_id))
      moved.push(judged)
  }
  const living = new Set(keep.map(kept => kept.session_id))
  for (const id of logged.keys()) if (!living.has(id)) logged.delete(id)
  return { end, keep, moved }
}

/** One snapshot: a grant that is revoked between two of these reads would look like one whose time is over. */
function readLive({ database }: SessionGround, process_id: string) {
  return database.db.transaction(
    async tx => {
      const rows = await liveRows(tx, process_id)
      const open = rows.filter(row => row.end_code === null)
      const covers = await loadCovers(tx, open)
      const subjects = await loadSubjects(
        tx,
        open.map(row => row.subject_id),
      )
      return { rows, covers, subjects, now_ms: await clock(tx) }
    },
    { isolationLevel: 'repeatable read', accessMode: 'read only' },
  )
}

function judge(
  ground: SessionGround,
  row: LiveRow,
  covers: ReadonlyMap<string, Cover[]>,
  subjects: ReadonlyMap<string, SubjectFacts>,
  now_ms: number,
  logged: Map<string, string>,
): ToEnd | ToKeep {
  const stop = (code: EndCode, reason: string, remedy: string): ToEnd => ({
    session_id: row.id,
    code,
    reason,
    remedy,
    decision_id: null,
  })
  const resource = ground.resources.get(row.resource)
  if (resource === undefined || resource.protocol !== row.protocol) {
    return stop(
      'policy',
      `policy no longer declares ${row.resource} as it was when the session began`,
      'look at `sallyport resources`',
    )
  }
  const facts = subjects.get(row.subject_id)
  if (facts === undefined)
    return stop('revoked', 'the account is disabled or was signed out by the identity provider', 'sign in again')
  const client = { address: row.address, application: row.application, via: row.via }
  const subject = asHolder(facts, row)
  const chosen = decideCovers(ground, covers.get(keyText(row)) ?? [], {
    stage: 'live',
    subject,
    resource,
    role: row.role,
    client,
    now_ms,
    session_id: row.id,
  })
  if (chosen === undefined) return stop(...withoutGrant(row.revoke_reason))
  const { decision, permit, cover } = chosen
  const written = logOnce(ground, decision, logged, row.id)
  const of = { session_id: row.id, decision_id: decision.id }
  if (!Permit.is(permit)) {
    const { message, remedy } = refusedBy(decision)
    return {
      ...of,
      code: 'policy',
      reason: isVerdict(decision) ? `policy no longer allows this: ${message}` : message,
      remedy,
    }
  }
  if (!written) return { ...of, code: 'policy', reason: 'the decision log takes no more', remedy: 'tell the operator' }
  const terms = decision.result?.session
  if (terms === undefined)
    return {
      ...of,
      code: 'policy',
      reason: 'policy does not say how long a session may last',
      remedy: 'ask a security engineer',
    }
  if (!isFrom(terms.from, row.address)) {
    return {
      ...of,
      code: 'policy',
      reason: `policy admits no session from the address ${row.address} any more`,
      remedy: 'connect from a network that policy admits',
    }
  }
  const ends_at_ms = Math.min(cover.ends_at_ms, Number(row.opened_at_ms) + terms.max_s * 1000)
  if (ends_at_ms <= now_ms)
    return {
      ...of,
      code: 'expired',
      reason: `the session has lasted the ${terms.max_s} seconds that policy gives`,
      remedy: 'connect again',
    }
  const { idle_s, moderators = [] } = terms
  return { session_id: row.id, grant_id: cover.id, ends_at_ms, idle_s, moderators }
}

/** Why a session whose grant covers nothing any more ends, in the words of whoever revoked it. */
export function withoutGrant(revoke_reason: string | null): [code: EndCode, reason: string, remedy: string] {
  if (revoke_reason === null) return ['expired', 'the time of its grant is over', 'ask for access again']
  return ['revoked', `its grant was revoked: ${revoke_reason}`, 'ask for access again']
}

/**
 * A session's live decisions differ by their clock only, for hours. Written down are those where something else changed
 * too: the answer, the revision, the groups, the votes, the grant.
 */
function logOnce(
  ground: SessionGround,
  decision: Parameters<SessionGround['decisionLog']['append']>[0],
  logged: Map<string, string>,
  session_id: string,
): boolean {
  const { time: _, ...rest } = JSON.parse(decision.input) as { time?: unknown }
  const state = digest(`${decision.generation} ${decision.effect} ${decision.code} ${canonical(rest)}`)
  if (logged.get(session_id) === state) return true
  if (!ground.decisionLog.append(decision)) return false
  logged.set(session_id, state)
  return true
}

function endedElsewhere(row: LiveRow): ToEnd {
  return {
    session_id: row.id,
    code: row.end_code!,
    reason: row.end_reason ?? 'the session has ended',
    remedy: 'run `sallyport connect` for a fresh ticket',
    decision_id: null,
  }
}

/** One row a session; its first open connection on this process stands for the client. */
function liveRows(db: Queryable, process_id: string): Promise<readonly (LiveRow & AccessKey)[]> {
  return db.execute<LiveRow & AccessKey>(sql`
    select distinct on (s.id) s.id, s.subject_id, s.resource, s.role, s.protocol, s.grant_id, s.end_code, s.end_reason,
      (extract(epoch from s.opened_at) * 1000)::bigint::text as opened_at_ms,
      (extract(epoch from s.ends_at) * 1000)::bigint::text as ends_at_ms,
      t.token, t.on_behalf_of, c.client_address as address, g.revoke_reason,
      coalesce(c.client->>'application', '') as application, coalesce(c.client->>'via', '') as via
    from connections c join sessions s on s.id = c.session_id join tickets t on t.id = s.ticket_id
      join grants g on g.id = s.grant_id
    where c.process_id = ${process_id} and c.closed_at is null
    order by s.id, c.opened_at, c.id`)
}

/**
 * A mark that moves when anything that `redecideLive` reads from the database has changed for this process: cheap enough
 * to ask for each second, so that a lost notification costs a second and not a minute.
 */
export async function liveMark(ground: SessionGround, process_id: string): Promise<string> {
  const [row] = await ground.database.db.execute<{ mark: string }>(sql`
    with live as (
      select distinct s.id, s.subject_id, s.resource, s.role, s.ended_at, t.on_behalf_of
      from connections c join sessions s on s.id = c.session_id join tickets t on t.id = s.ticket_id
      where c.process_id = ${process_id} and c.closed_at is null)
    select coalesce(md5(string_agg(md5(concat_ws('|', l.id, l.ended_at, u.disabled_at, u.left_at, u.groups::text, u.claims::text, (
      select string_agg(concat_ws(',', g.id, g.ends_at), ';' order by g.id) from grants g
      where g.subject_id = l.subject_id and g.resource = l.resource and g.role = l.role
        and g.ended_at is null and g.ends_at > clock_timestamp()))), '' order by l.id)), '') as mark
    from live l join subjects u on u.id = l.subject_id`)
  return row?.mark ?? ''
}
