import { latestCheckpoint, type Sql, type StoredCheckpoint } from '../store.ts'

/** A checkpoint without all its cosignatures is shown after all when they have not come for so long. */
const patience_ms = 60_000

/**
 * The checkpoint that is shown and carried outside: the newest that every witness of the configuration cosigned, its
 * cosignatures under the note; where they keep us waiting, the newest with what it has.
 */
export async function publishedCheckpoint(sql: Sql): Promise<StoredCheckpoint | null> {
  const [newest, [cosigned]] = await Promise.all([latestCheckpoint(sql), newestCosigned(sql)])
  if (!newest) return null
  const chosen =
    cosigned && newest.at_ms - Number(cosigned.at_ms) <= patience_ms
      ? { ...cosigned, size: Number(cosigned.size), at_ms: Number(cosigned.at_ms) }
      : newest
  const lines = await sql<{ line: string }[]>`
    select line from audit_cosignatures where size = ${chosen.size} order by witness`
  return { ...chosen, note: chosen.note + lines.map(({ line }) => `${line}\n`).join('') }
}

/** The newest checkpoint that all witnesses of the configuration cosigned. */
function newestCosigned(sql: Sql) {
  return sql<{ size: string; root: Buffer; note: string; at_ms: string }[]>`
    with named as (select name from audit_outside where kind = 'witness')
    select c.size::text, c.root, c.note, c.at_ms::text from audit_checkpoints c
    where c.size = (
      select s.size from audit_cosignatures s where s.witness in (select name from named)
      group by s.size having count(*) = (select count(*) from named) order by s.size desc limit 1)`
}
