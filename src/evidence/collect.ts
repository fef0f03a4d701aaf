import { and, asc, eq, gte, inArray, isNull, lt, or } from 'drizzle-orm'
import { grants, holds, requests, votes } from '../approvals/schema.ts'
import type { Queryable } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { subjects } from '../identity/schema.ts'
import type { RecordingRow } from '../recording/reader.ts'
import { legalHolds, recordings } from '../recording/schema.ts'
import { connections, sessions } from '../sessions/schema.ts'
import type { About } from './format.ts'

/** More than this is no evidence but a copy of the database. */
export const most = { sessions: 2_000, requests: 5_000, decisions: 200_000, events: 200_000 } as const

/** A row as a line of the bundle shows it: instants as milliseconds, under the name that says so. */
export type Fact = Readonly<Record<string, unknown>>

export interface Collected {
  readonly subject: { readonly id: string; readonly name: string }
  readonly sessions: readonly (Fact & { readonly id: string })[]
  readonly requests: readonly (Fact & { readonly id: string })[]
  readonly recordings: readonly RecordingRow[]
  readonly holds: ReadonlyMap<string, readonly (typeof legalHolds.$inferSelect)[]>
  /** Decisions that these rows refer to, also where the decision names no session and no request. */
  readonly referred: readonly string[]
}

/** Whose sessions and requests a bundle is about, so that policy can be asked first. @throws SallyportError `not_found`. */
export async function subjectOf(db: Queryable, about: About): Promise<string> {
  if ('subject' in about) return about.subject
  const [row] =
    'session' in about
      ? await db.select({ id: sessions.subject_id }).from(sessions).where(eq(sessions.id, about.session))
      : await db.select({ id: requests.subject_id }).from(requests).where(eq(requests.id, about.request))
  if (row !== undefined) return row.id
  const [what, id] = 'session' in about ? ['session', about.session] : ['request', about.request]
  throw new SallyportError('not_found', `there is no ${what} ${id}`, {
    remedy: 'look at the id again; what retention deleted is named by its events: sallyport audit events',
  })
}

/** The sessions, the requests and what hangs on them. */
export async function collect(db: Queryable, about: About): Promise<Collected> {
  const subjectId = await subjectOf(db, about)
  const [subject] = await db.select({ name: subjects.name }).from(subjects).where(eq(subjects.id, subjectId))
  const sessionRows = await sessionsOf(db, about)
  tooMany('sessions', sessionRows.length)
  const grantIds = [...new Set(sessionRows.map(row => row.grant_id))]
  const requestRows = await requestsOf(
    db,
    about,
    grantIds,
    sessionRows.map(row => row.id),
  )
  tooMany('requests', requestRows.length)
  const requestIds = requestRows.map(row => row.id)
  const sessionIds = sessionRows.map(row => row.id)
  const voteRows = await inPieces(requestIds, ids =>
    db.select().from(votes).where(inArray(votes.request_id, ids)).orderBy(asc(votes.at), asc(votes.id)),
  )
  const heldRows = await inPieces(requestIds, ids => db.select().from(holds).where(inArray(holds.request_id, ids)))
  const grantRows = await inPieces(requestIds, ids => db.select().from(grants).where(inArray(grants.request_id, ids)))
  const connectionRows = await inPieces(sessionIds, ids =>
    db.select().from(connections).where(inArray(connections.session_id, ids)).orderBy(asc(connections.id)),
  )
  const recordingRows = await inPieces(sessionIds, ids =>
    db.select().from(recordings).where(inArray(recordings.session_id, ids)).orderBy(asc(recordings.session_id)),
  )
  const holdRows = await inPieces(
    recordingRows.map(row => row.id),
    ids => db.select().from(legalHolds).where(inArray(legalHolds.recording_id, ids)).orderBy(asc(legalHolds.id)),
  )
  return {
    subject: { id: subjectId, name: subject?.name ?? subjectId },
    sessions: sessionRows.map(row => ({
      ...fact(row),
      id: row.id,
      connections: connectionRows.filter(one => one.session_id === row.id).map(fact),
    })),
    requests: requestRows.map(row => ({
      ...fact(row),
      id: row.id,
      votes: voteRows.filter(vote => vote.request_id === row.id).map(fact),
      grant: grantRows.filter(grant => grant.request_id === row.id).map(fact)[0] ?? null,
      held: heldRows.filter(held => held.request_id === row.id).map(fact)[0] ?? null,
    })),
    recordings: recordingRows,
    holds: grouped(holdRows),
    referred: [
      ...[...sessionRows, ...requestRows, ...heldRows, ...voteRows, ...grantRows, ...recordingRows].map(
        row => row.decision_id,
      ),
      ...recordingRows.flatMap(row => (row.receipt === null ? [] : [row.receipt.decision_id])),
    ],
  }
}

async function sessionsOf(db: Queryable, about: About) {
  const rows = (where: ReturnType<typeof and>) =>
    db
      .select()
      .from(sessions)
      .where(where)
      .orderBy(asc(sessions.id))
      .limit(most.sessions + 1)
  if ('session' in about) return rows(eq(sessions.id, about.session))
  if ('request' in about) {
    const given = db.select({ id: grants.id }).from(grants).where(eq(grants.request_id, about.request))
    return rows(inArray(sessions.grant_id, given))
  }
  const { subject, from_ms, to_ms } = about
  return rows(
    and(
      eq(sessions.subject_id, subject),
      lt(sessions.opened_at, new Date(to_ms)),
      or(isNull(sessions.ended_at), gte(sessions.ended_at, new Date(from_ms))),
    ),
  )
}

async function requestsOf(db: Queryable, about: About, grantIds: readonly string[], sessionIds: readonly string[]) {
  const ids = new Set<string>('request' in about ? [about.request] : [])
  for (const row of await inPieces(grantIds, some =>
    db.select({ id: grants.request_id }).from(grants).where(inArray(grants.id, some)),
  ))
    ids.add(row.id)
  // What waited in these sessions.
  for (const row of await inPieces(sessionIds, some =>
    db.select({ id: holds.request_id }).from(holds).where(inArray(holds.session_id, some)),
  ))
    ids.add(row.id)
  if ('subject' in about) {
    const { subject, from_ms, to_ms } = about
    const within = and(
      eq(requests.subject_id, subject),
      gte(requests.created_at, new Date(from_ms)),
      lt(requests.created_at, new Date(to_ms)),
    )
    for (const row of await db
      .select({ id: requests.id })
      .from(requests)
      .where(within)
      .limit(most.requests + 1))
      ids.add(row.id)
  }
  return inPieces([...ids].sort(), some =>
    db.select().from(requests).where(inArray(requests.id, some)).orderBy(asc(requests.id)),
  )
}

export function tooMany(what: keyof typeof most, n: number): void {
  if (n > most[what])
    throw new SallyportError('bad_request', `there are more than ${most[what]} ${what}`, {
      remedy: 'ask for a shorter time, or for one session or request after the other',
    })
}

/** Many ids, some at once: a statement has a bounded number of parameters. */
export async function inPieces<Row>(
  ids: readonly string[],
  read: (ids: string[]) => PromiseLike<readonly Row[]>,
): Promise<Row[]> {
  const rows: Row[] = []
  for (let at = 0; at < ids.length; at += 1_000) rows.push(...(await read(ids.slice(at, at + 1_000))))
  return rows
}

/** Columns as JSON has them: an instant `x_at` becomes `x_at_ms`, whether there is one or not. */
function fact(row: Readonly<Record<string, unknown>>): Fact {
  const shown = ([name, value]: [string, unknown]): [string, unknown] => {
    if (value instanceof Date) return [`${name}_ms`, value.getTime()]
    return value === null && /(?:^|_)at$/.test(name) ? [`${name}_ms`, null] : [name, value]
  }
  return Object.fromEntries(Object.entries(row).map(shown))
}

function grouped<Row extends { readonly recording_id: string }>(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>()
  for (const row of rows) groups.set(row.recording_id, [...(groups.get(row.recording_id) ?? []), row])
  return groups
}
