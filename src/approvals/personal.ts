import { sql } from 'drizzle-orm'
import type { PersonalRows } from '../audit/personal.ts'
import type { Tx } from '../db/database.ts'

/** What a person wrote when they asked. @param forget what a higher room keeps of these requests */
export const personalRequests = (forget: (tx: Tx, requests: readonly string[]) => Promise<void>): PersonalRows => ({
  name: 'requests',
  find: async (tx, who, limit) => {
    const rows = await tx.execute<{ id: string }>(sql`
      select id from requests where subject_id = ${who.subject_id} and reason <> '[erased]' and state <> 'pending' limit ${limit}`)
    return rows.map(row => row.id)
  },
  erase: async (tx, _, found) => {
    await forget(tx, found)
    await tx.execute(sql`
      update holds set text = null, shown = '[]'::jsonb, held = jsonb_build_object(
        'subject', jsonb_build_object('id', held #>> '{subject,id}'), 'resource', held -> 'resource', 'role', held -> 'role',
        'actions', '[]'::jsonb)
      where request_id = any(${sql.param([...found])}::text[])`)
    await tx.execute(sql`
      update requests set reason = '[erased]', ticket_ref = null,
        client = '{"address": "", "application": "", "via": ""}'::jsonb || jsonb_build_object('via', client ->> 'via')
      where id = any(${sql.param([...found])}::text[])`)
  },
})
