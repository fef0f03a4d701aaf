import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { inclusionProof } from './merkle.ts'
import { latestCheckpoint, nodeReader, placeOf } from './store.ts'

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
}

/**
 * Proves that an event is in the log, against the newest checkpoint.
 * @throws SallyportError `not_found`, or `not_ready` where the event has no place in the log yet.
 */
export async function prove(database: Database, vkey: string, event: string): Promise<ProofFile> {
  const { sql } = database
  const [row] = await sql<{ leaf: string; body: string | null; salt: Buffer | null; idx: string | null }[]>`
    select i.leaf, i.body, i.salt, (p.idx + i.seq - p.seq)::text as idx from audit_inbox i
    left join audit_places p on p.seq = ${sql.unsafe(placeOf)} and i.seq < p.seq + p.count where i.id = ${event}`
  if (!row)
    throw new SallyportError('not_found', `there is no event ${event}`, {
      remedy: '`sallyport audit events` lists the events you may see',
    })
  const checkpoint = row.idx === null ? null : await latestCheckpoint(sql)
  if (row.idx === null || checkpoint === null) {
    throw new SallyportError('not_ready', `event ${event} has no place in the log yet`, {
      remedy: 'try again in a second; if it stays so, look at `sallyport status`',
    })
  }
  const index = Number(row.idx)
  const path = await inclusionProof(index, checkpoint.size, nodeReader(sql))
  return {
    format: 'sallyport-proof-v1',
    leaf: row.leaf,
    body: row.body,
    salt: row.salt?.toString('hex') ?? null,
    index,
    checkpoint: checkpoint.note,
    inclusion: path.map(hash => hash.toString('base64')),
    vkey,
  }
}
