import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import type { StoredDecision } from '../policy/log/decision-filter.ts'
import { type Collected, collect, most, tooMany } from './collect.ts'
import { decisionsAbout } from './decision-lines.ts'
import type { About } from './format.ts'
import { type EventRow, eventsAbout, LogProofs } from './log-proofs.ts'

const marginMs = 60_000
const patienceMs = 8_000
const pauseMs = 250

/** All that a bundle is made of but the recordings' content, as it was at one moment. */
export interface Gathered {
  readonly found: Collected
  readonly decisions: readonly StoredDecision[]
  /** Revisions that decided. */
  readonly generations: readonly number[]
  readonly events: readonly EventRow[]
  readonly proofs: LogProofs
}

/**
 * Reads it, once more where something was sealed in between: rows and log must speak of the same seals.
 * @throws SallyportError for what there is not, or too much of.
 */
export async function gather(
  database: Database,
  about: About,
  given: { readonly decisions: boolean; readonly events: boolean },
): Promise<Gathered> {
  for (const end = performance.now() + patienceMs; ; await sleep(pauseMs)) {
    const found = await collect(database.db, about)
    const decisions = given.decisions ? await settled(database, found, about) : []
    const generations = [...new Set(decisions.flatMap(row => (row.generation === null ? [] : [row.generation])))].sort(
      (a, b) => a - b,
    )
    const query = eventQuery(found, decisions, generations, about)
    const events = given.events ? await eventsAbout(database.sql, query, most.events) : []
    tooMany('events', events.length)
    if (!given.events || sealsAgree(found, events)) {
      const ids = events.map(row => row.id)
      return { found, decisions, generations, events, proofs: await LogProofs.covering(database.sql, ids, 10_000) }
    }
    if (performance.now() > end)
      throw new SallyportError('conflict', 'a recording was sealed again and again while its bundle was made', {
        remedy: 'ask again in a while',
      })
  }
}

/** Whether each recording's seal is the one that the log speaks of last. */
function sealsAgree({ recordings }: Collected, events: readonly EventRow[]): boolean {
  const last = new Map<string, unknown>()
  for (const { leaf, body } of events) {
    if (body === null || !/"type":"recording\.(?:sealed|interrupted)"/.test(leaf)) continue
    const said = JSON.parse(body) as { session_id?: string; seal_hash?: string }
    if (said.session_id !== undefined) last.set(said.session_id, said.seal_hash)
  }
  return recordings.every(
    row => row.state === 'deleted' || !last.has(row.session_id) || last.get(row.session_id) === row.seal_hash,
  )
}

/** The decisions, once the newest of them have their place under an event; those that wait for longer say so. */
async function settled(database: Database, found: Collected, about: About): Promise<StoredDecision[]> {
  const query = {
    ids: [...new Set(found.referred)],
    sessions: found.sessions.map(row => row.id),
    requests: found.requests.map(row => row.id),
    subject: subjectIn(about),
  }
  for (const end = performance.now() + 8_000; ; await new Promise(done => setTimeout(done, 250))) {
    const rows = await decisionsAbout(database.db, query)
    if (rows.every(row => row.batch !== null) || performance.now() > end) return rows
  }
}

function subjectIn(about: About) {
  return 'subject' in about ? { id: about.subject, from_ms: about.from_ms, to_ms: about.to_ms } : null
}

function eventQuery(found: Collected, all: readonly StoredDecision[], generations: readonly number[], about: About) {
  const begun = found.requests.map(row => row['created_at_ms'] as number)
  const grants = found.requests.flatMap(row => {
    const grant = row['grant'] as { id: string; ends_at_ms: number } | null
    return grant === null ? [] : [grant]
  })
  const ends = [...grants.map(grant => grant.ends_at_ms), ...found.requests.map(row => row['expires_at_ms'] as number)]
  const least = (times: readonly number[]) => times.reduce((a, b) => Math.min(a, b), Number.MAX_SAFE_INTEGER)
  const greatest = (times: readonly number[]) => times.reduce((a, b) => Math.max(a, b), 0)
  return {
    ids: [...new Set(all.flatMap(row => (row.batch === null ? [] : [row.batch])))],
    sessions: found.sessions.map(row => row.id),
    requests: found.requests.map(row => row.id),
    grants: grants.map(grant => grant.id),
    generations,
    subject: subjectIn(about),
    from_ms: least(begun) - marginMs,
    to_ms: greatest(ends) + marginMs,
  }
}
