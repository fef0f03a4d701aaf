import { sql } from 'drizzle-orm'
import { eraseBodies } from '../audit/erase.ts'
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

/** Why access of theirs was taken back. The event says the same under their id, and is erased with the others. */
export const personalGrants: PersonalRows = {
  name: 'grants',
  find: async (tx, who, limit) => {
    const rows = await tx.execute<{ id: string }>(sql`
      select id from grants where subject_id = ${who.subject_id} and revoke_reason <> '[erased]' limit ${limit}`)
    return rows.map(row => row.id)
  },
  erase: async (tx, _, found) => {
    await tx.execute(sql`update grants set revoke_reason = '[erased]' where id = any(${sql.param([...found])}::text[])`)
  },
}

/** What was written when their access was looked at afterwards, and what they wrote of others' access. */
export const personalReviews: PersonalRows = {
  name: 'reviews',
  find: async (tx, who, limit) => {
    const rows = await tx.execute<{ id: string }>(sql`
      select id from reviews where (subject_id = ${who.subject_id} or answered_by = ${who.subject_id})
        and answer_reason <> '[erased]' limit ${limit}`)
    return rows.map(row => row.id)
  },
  erase: async (tx, _, found) => {
    const reviews = sql`any(${sql.param([...found])}::text[])`
    // The event of the answer stands under the reviewer's id, whoever it is about.
    const told = await tx.execute<{ id: string }>(sql`
      select id from audit_inbox where type = 'review.answered' and body is not null and body::jsonb ->> 'review_id' = ${reviews}`)
    await eraseBodies(
      tx,
      told.map(row => row.id),
    )
    await tx.execute(sql`update reviews set answer_reason = '[erased]' where id = ${reviews}`)
  },
}
