import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { consistencyProof, inclusionProof, rootAt } from './merkle.ts'
import { publishedCheckpoint } from './places/published.ts'
import { keysOf } from './statements.ts'
import { latestCheckpoint, nodeReader, placeOf, type Sql } from './store.ts'

/** A proof file: what an outsider needs to check one event with no network and no server. */
export interface ProofFile {
  readonly format: 'sallyport-proof-v1'
  /** Canonical JSON of the leaf, as it lies in the tree. */
  readonly leaf: string
  /** Canonical JSON of the body and its salt in hex; null where they were erased. */
  readonly body: string | null
  readonly salt: string | null
  readonly index: number
  /** C2SP signed note. */
  readonly checkpoint: string
  /** Base64 hashes from the leaf upwards. */
  readonly inclusion: readonly string[]
  /** The key that the sender says signs this log. Who checks should have it from elsewhere. */
  readonly vkey: string
  /** Signed notes that hand the log over from one key to the next, where it has been. */
  readonly handovers?: readonly string[]
}

/** Shows that a log of `from` entries is the beginning of one of `to` entries. */
export interface ConsistencyFile {
  readonly format: 'sallyport-consistency-v1'
  readonly from: LogPoint
  readonly to: LogPoint
  /** Base64 hashes, RFC 6962 §2.1.2. */
  readonly consistency: readonly string[]
  readonly vkey: string
  readonly handovers?: readonly string[]
}

export interface LogPoint {
  readonly size: number
  /** Base64. */
  readonly root: string
  /** C2SP signed note; null where no checkpoint was signed at just this size. */
  readonly checkpoint: string | null
}

/**
 * Proves that an event is in the log, against the newest checkpoint that is shown.
 * @param known a key of the log: the file names the one that signs now.
 * @throws SallyportError `not_found`, or `not_ready` where the event has no place in the log yet.
 */
export async function prove(database: Database, known: string, event: string): Promise<ProofFile> {
  const { sql } = database
  const [[row], shown, keys] = await Promise.all([eventRow(sql, event), publishedCheckpoint(sql), keysIn(sql, known)])
  if (!row)
    throw new SallyportError('not_found', `there is no event ${event}`, {
      remedy: '`sallyport audit events` lists the events you may see',
    })
  const index = Number(row.idx ?? -1)
  // The one that is shown may not reach so far yet: the newest does, for it was signed with the event's index.
  const checkpoint = row.idx === null ? null : (shown?.size ?? 0) > index ? shown : await latestCheckpoint(sql)
  if (row.idx === null || checkpoint === null) {
    throw new SallyportError('not_ready', `event ${event} has no place in the log yet`, {
      remedy: 'try again in a second; if it stays so, look at `sallyport status`',
    })
  }
  const path = await inclusionProof(index, checkpoint.size, nodeReader(sql))
  return {
    format: 'sallyport-proof-v1',
    leaf: row.leaf,
    body: row.body,
    salt: row.salt?.toString('hex') ?? null,
    index,
    checkpoint: checkpoint.note,
    inclusion: path.map(hash => hash.toString('base64')),
    ...keys,
  }
}

function eventRow(sql: Sql, event: string) {
  return sql<{ leaf: string; body: string | null; salt: Buffer | null; idx: string | null }[]>`
    select i.leaf, i.body, i.salt, (p.idx + i.seq - p.seq)::text as idx from audit_inbox i
    left join audit_places p on p.seq = ${sql.unsafe(placeOf)} and i.seq < p.seq + p.count where i.id = ${event}`
}

async function keysIn(sql: Sql, known: string): Promise<{ vkey: string; handovers?: string[] }> {
  const { current, notes } = await keysOf(sql, known)
  return notes.length === 0 ? { vkey: current } : { vkey: current, handovers: notes }
}

/**
 * Proves that the log only grew between two sizes.
 * @param sizes `to` left out: the newest checkpoint that is shown.
 * @throws SallyportError `bad_request` for sizes that the log does not have, `not_ready` before its first entry.
 */
export async function proveConsistency(
  { sql }: Database,
  known: string,
  sizes: { readonly from: number; readonly to?: number | undefined },
): Promise<ConsistencyFile> {
  const [shown, newest] = await Promise.all([publishedCheckpoint(sql), latestCheckpoint(sql)])
  if (shown === null || newest === null) throw new SallyportError('not_ready', 'the log has no entry yet')
  const { from, to = Math.max(shown.size, from) } = sizes
  if (from > to || to > newest.size)
    throw new SallyportError('bad_request', `the log has ${newest.size} entries; ${from} to ${to} cannot be compared`, {
      remedy: 'give two sizes, the smaller one first, neither larger than the log',
    })
  const read = nodeReader(sql)
  const point = async (size: number): Promise<LogPoint> => {
    const [signed] = await sql<{ note: string }[]>`select note from audit_checkpoints c where c.size = ${size}`
    const note = size === shown.size ? shown.note : signed?.note
    return { size, root: (await rootAt(size, read)).toString('base64'), checkpoint: note ?? null }
  }
  const [path, older, newer, keys] = await Promise.all([
    consistencyProof(from, to, read),
    point(from),
    point(to),
    keysIn(sql, known),
  ])
  return {
    format: 'sallyport-consistency-v1',
    from: older,
    to: newer,
    consistency: path.map(hash => hash.toString('base64')),
    ...keys,
  }
}
