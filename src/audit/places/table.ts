import { sql } from 'drizzle-orm'
import type { Database, Tx } from '../../db/database.ts'
import { logger } from '../../log.ts'
import type { Place } from './place.ts'

const log = logger('audit')
const lease_s = 60

export interface Position {
  readonly size: number
  readonly statements: number
  readonly refused: boolean
}

/** The rows of the outside places. INVARIANT: a position moves only by the process that has the lease. */
export class PlaceTable {
  readonly #database: Database
  readonly #process: string

  constructor(database: Database, process_id: string) {
    this.#database = database
    this.#process = process_id
  }

  /** Rows for what is configured; what is not any more keeps nothing. */
  async register(places: readonly Place[]): Promise<void> {
    const names = sql`${sql.param(places.map(place => place.name))}::text[]`
    await this.#database.db.transaction(async tx => {
      const gone = await tx.execute<{ name: string }>(sql`
        delete from audit_outside where name <> all(${names}) returning name`)
      for (const { name } of gone) log.warn({ place: name }, 'an outside place is no longer configured')
      await tx.execute(sql`
        insert into audit_outside (name, kind)
        select * from unnest(${names}, ${sql.param(places.map(place => place.kind))}::text[]) as p (name, kind)
        on conflict (name) do update set kind = excluded.kind`)
    })
  }

  /** @returns where the place is, or undefined where another process has it. */
  async lease(name: string): Promise<Position | undefined> {
    const [row] = await this.#database.sql<{ size: string; statements: string; refused: boolean }[]>`
      update audit_outside set leased_by = ${this.#process}, leased_until = clock_timestamp() + make_interval(secs => ${lease_s})
      where name = ${name} and (leased_by is not distinct from ${this.#process} or leased_until is null or leased_until < clock_timestamp())
      returning size::text, statements::text, refused is not null as refused`
    return row && { size: Number(row.size), statements: Number(row.statements), refused: row.refused }
  }

  async leave(): Promise<void> {
    await this.#database.sql`update audit_outside set leased_until = null where leased_by = ${this.#process}`.catch(
      () => {},
    )
  }

  /** @param mended told in the same transaction, where there had been an alarm. */
  async taken(
    name: string,
    now: { readonly size: number; readonly statements: number; readonly line: string | undefined },
    mended: (tx: Tx) => Promise<void>,
  ): Promise<void> {
    await this.#database.db.transaction(async tx => {
      const [before] = await tx.execute<{ alarmed: boolean }>(sql`
        select alarmed_at is not null as alarmed from audit_outside
        where name = ${name} and leased_by = ${this.#process} for update`)
      if (before === undefined) throw new Error('another process took this place over')
      if (now.line !== undefined)
        await tx.execute(sql`insert into audit_cosignatures (size, witness, line) values (${now.size}, ${name}, ${now.line})
          on conflict do nothing`)
      await tx.execute(sql`
        update audit_outside set size = ${now.size}, statements = ${now.statements}, at = clock_timestamp(), failing_since = null,
          alarmed_at = null, last_error = null, refused = null where name = ${name}`)
      if (before.alarmed) await mended(tx)
    })
  }

  /** @param alarm told in the same transaction, once, when it has failed for so long. */
  async failed(
    name: string,
    why: { readonly message: string; readonly refused: boolean; readonly alarm_s: number },
    alarm: (tx: Tx) => Promise<void>,
  ): Promise<void> {
    const message = why.message.slice(0, 500)
    await this.#database.db.transaction(async tx => {
      await tx.execute(sql`
        update audit_outside set failing_since = coalesce(failing_since, clock_timestamp()), last_error = ${message},
          refused = ${why.refused ? message : null} where name = ${name}`)
      const due = await tx.execute(sql`
        update audit_outside set alarmed_at = clock_timestamp()
        where name = ${name} and alarmed_at is null and failing_since <= clock_timestamp() - make_interval(secs => ${why.alarm_s})
        returning name`)
      if (due.length > 0) await alarm(tx)
    })
  }
}
