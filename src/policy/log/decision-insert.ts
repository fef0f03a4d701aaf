import { sql } from 'drizzle-orm'
import type { Queryable } from '../../db/database.ts'
import { type DecisionRow, wordSeparator } from './decision-row.ts'

/**
 * @param again the same rows may be there from a write whose answer was lost. Those of `decisions` stay as they are then:
 *   a gateway may not change them, and would be refused for ever.
 */
export async function insertRows(on: Queryable, rows: readonly DecisionRow[], again = false): Promise<void> {
  const actions = rows.filter(row => row.point === 'action')
  const others = rows.filter(row => row.point !== 'action')
  if (actions.length > 0) await insertInto(on, 'action_decisions', actions)
  if (others.length > 0) await insertInto(on, 'decisions', others, again)
}

/** One statement for all rows of a table. A row that is there already is the same decision again, and is counted. */
async function insertInto(
  on: Queryable,
  table: 'decisions' | 'action_decisions',
  rows: readonly DecisionRow[],
  keep = false,
): Promise<void> {
  const column = (of: (row: DecisionRow) => string | number | null) => sql.param(rows.map(of))
  const into = sql.identifier(table)
  const [day, key] = table === 'decisions' ? [sql``, sql`id`] : [sql`, day`, sql`id, day`]
  await on.execute(sql`
    insert into ${into} (id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons,
      subject_id, resource, session_id, request_id, count, erased, masked, words${day})
    select id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons::jsonb,
      subject_id, resource, session_id, request_id, count, erased::jsonb, masked::jsonb,
      array_to_tsvector(string_to_array(words, ${wordSeparator}))${day}
    from unnest(
      ${column(r => r.id)}::text[], ${column(r => r.at_ms)}::bigint[], ${column(r => r.point)}::text[],
      ${column(r => r.effect)}::text[], ${column(r => r.code)}::text[], ${column(r => r.generation)}::bigint[],
      ${column(r => r.commit)}::text[], ${column(r => r.digest)}::text[], ${column(r => r.input_digest)}::text[],
      ${column(r => r.input)}::text[], ${column(r => r.result)}::text[], ${column(r => r.reasons)}::text[],
      ${column(r => r.subject_id)}::text[], ${column(r => r.resource)}::text[], ${column(r => r.session_id)}::text[],
      ${column(r => r.request_id)}::text[], ${column(r => r.count)}::bigint[], ${column(r => r.erased)}::text[],
      ${column(r => r.masked)}::text[], ${column(r => r.words)}::text[], ${column(r => r.day)}::text[]::date[]
    ) as d (id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons,
      subject_id, resource, session_id, request_id, count, erased, masked, words, day)
    order by id
    on conflict (${key}) do ${keep ? sql`nothing` : sql`update set count = ${into}.count + excluded.count`}`)
}

/** SQLSTATE classes 22 and 23: the values are at fault, not the database. */
export function isAboutValues(error: unknown): boolean {
  const { code } = ((error as { cause?: unknown }).cause ?? error) as { code?: unknown }
  return error instanceof TypeError || (typeof code === 'string' && /^2[23][0-9A-Z]{3}$/.test(code))
}
