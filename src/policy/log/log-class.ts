import type { SQL } from 'drizzle-orm'
import type { Tx } from '../../db/database.ts'

/**
 * One class of rows that the `retention` point may end: a room's own, in its own order. What rooms above still need of it
 * they say as a condition, which is part of the query that locks what is to be deleted.
 */
export interface LogClass {
  readonly name: 'decisions' | 'requests' | 'sessions'
  /** Locks rows whose time was over before `before_ms` and that nothing needs any more. @returns their ids, in order. */
  expired(tx: Tx, before_ms: number, limit: number): Promise<readonly string[]>
  /**
   * The next part of the log, after another one, of which all is expired and nothing needed: held still until the end of the
   * transaction, and dropped without going through its rows. Rows of other parts go one by one.
   */
  whole?(tx: Tx, before_ms: number, after: string): Promise<ExpiredPart | undefined>
  /**
   * Deletes these rows and what belongs to them. @returns the events of the audit log that told of them.
   * INVARIANT: what was refused since `before_ms` is not among them: whoever tries something that is about to go must not
   * have the trace of it go along.
   */
  remove(tx: Tx, ids: readonly string[], before_ms: number): Promise<readonly string[]>
}

export interface ExpiredPart {
  readonly name: string
  readonly count: number
  readonly first: string
  readonly last: string
  /** Of the ids, in their order. */
  readonly ids_digest: string
  /** Comes last in its transaction: readers wait for it. */
  drop(): Promise<void>
}

/** A condition over the id of a row: something in a higher room still needs it. */
export type Needed = (id: SQL) => SQL
