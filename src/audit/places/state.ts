import type { Sql } from '../store.ts'

/** How far an outside place is, for people and machines. */
export interface PlaceState {
  readonly name: string
  readonly kind: string
  /** Size of the last checkpoint that it took; 0 before the first. */
  readonly size: number
  readonly behind_entries: number
  /** For how long the first checkpoint that it lacks has been signed. */
  readonly behind_s: number
  readonly failing_s: number
  readonly error: string | null
}

export async function placeStates(sql: Sql): Promise<PlaceState[]> {
  const rows = await sql<(Omit<PlaceState, 'size' | 'behind_entries'> & { size: string; signed: string })[]>`
    select o.name, o.kind, o.size::text, coalesce((select max(c.size) from audit_checkpoints c), 0)::text as signed,
      coalesce(greatest(0, extract(epoch from clock_timestamp()) - (
        select c.at_ms from audit_checkpoints c where c.size > o.size order by c.size limit 1) / 1000.0), 0)::float8 as behind_s,
      coalesce(extract(epoch from clock_timestamp() - o.failing_since), 0)::float8 as failing_s,
      coalesce(o.refused, o.last_error) as error
    from audit_outside o order by o.name`
  return rows.map(({ size, signed, ...rest }) => ({
    ...rest,
    behind_s: Math.round(rest.behind_s * 10) / 10,
    failing_s: Math.round(rest.failing_s * 10) / 10,
    size: Number(size),
    behind_entries: Math.max(0, Number(signed) - Number(size)),
  }))
}
