import { sql } from 'drizzle-orm'
import type { PersonalRows } from '../../audit/personal.ts'

/**
 * What was judged of a person: the input goes, with the words it is found by. Digest of the input, answer and leaf stay, so
 * that the decision is still shown to be the one that was written down, and says that its input was erased. What was asked
 * at `retention` names the recording and nothing that was done: receipts are computed again from it, and it stays.
 */
export const personalDecisions: PersonalRows = {
  name: 'decisions',
  find: async (tx, who, limit) => {
    const held = sql.param([...who.held_sessions])
    const theirs = sql`(d.subject_id = ${who.subject_id} or d.request_id in (select id from requests where subject_id = ${who.subject_id}))
      and d.batch is not null and d.input <> 'null' and d.point <> 'retention' and (d.session_id is null or d.session_id <> all(${held}::text[]))`
    const rows = await tx.execute<{ id: string }>(sql`
      (select d.id from decisions d where ${theirs} limit ${limit})
      union all (select d.id from action_decisions d where ${theirs} limit ${limit})`)
    return rows.map(row => row.id)
  },
  erase: async (tx, _, found) => {
    const these = sql.param([...found])
    for (const table of [sql`decisions`, sql`action_decisions`])
      await tx.execute(sql`
        update ${table} set input = 'null', words = '',
          erased = (select coalesce(jsonb_agg(distinct p), '[]') from jsonb_array_elements(erased || '["/input"]') p)
        where id = any(${these}::text[])`)
  },
}

/** What a shadow policy was shown of them: the name in its report. */
export const personalDivergences: PersonalRows = {
  name: 'shadow',
  find: async (tx, who, limit) => {
    const rows = await tx.execute<{ key: string }>(sql`
      select key from shadow_divergences where subject ->> 'id' = ${who.subject_id} and subject ->> 'name' <> '' limit ${limit}`)
    return rows.map(row => row.key)
  },
  erase: async (tx, who) => {
    await tx.execute(sql`
      update shadow_divergences set subject = jsonb_build_object('id', ${who.subject_id}::text, 'name', ''), details = '[]'
      where subject ->> 'id' = ${who.subject_id}`)
  },
}
