import { sql } from 'drizzle-orm'
import type { LogClass, Needed } from './log-class.ts'

/**
 * Decisions by their age. One that a row refers to, that is not yet covered by the audit log or not yet exported, or that
 * belongs to something that lives or is recorded stays; its covering batch event says no more than a root, and stays too.
 */
export function decisionClass(needed: { readonly decision: Needed; readonly session: Needed }): LogClass {
  return {
    name: 'decisions',
    expired: async (tx, before_ms, limit) => {
      const rows = await tx.execute<{ id: string }>(sql`
        select d.id from decisions d
        where d.at_ms < ${before_ms} and (d.batch is not null or d.point <> 'action')
          and not exists (select from decision_exports e where d.seq is null or d.seq > e.seq)
          and not (${needed.decision(sql`d.id`)})
          and (d.session_id is null or not (${needed.session(sql`d.session_id`)}))
        order by d.at_ms, d.id limit ${limit} for update of d skip locked`)
      return rows.map(row => row.id)
    },
    remove: async (tx, ids) => {
      await tx.execute(sql`delete from decisions where id = any(${sql.param([...ids])}::text[])`)
      return []
    },
  }
}
