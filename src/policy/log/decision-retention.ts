import { sql } from 'drizzle-orm'
import { dropLeaves, keepLeaves, keepLeavesOfDay } from './batch-leaves.ts'
import { keptDays } from './decision-days.ts'
import type { LogClass, Needed } from './log-class.ts'

/**
 * Decisions by their age. One that a row refers to, that is not yet covered by the audit log or not yet exported, or that
 * belongs to something that lives or is recorded stays; its covering batch event says no more than a root, and stays too.
 * A day of action decisions of which nothing is needed any more is dropped whole.
 */
export function decisionClass(needed: { readonly decision: Needed; readonly session: Needed }): LogClass {
  const undelivered = sql`exists (select from decision_exports e where d.seq is null or d.seq > e.seq)`
  const ofLiving = sql`d.session_id is not null and ${needed.session(sql`d.session_id`)}`
  return {
    name: 'decisions',
    expired: async (tx, before_ms, limit) => {
      const rows = await tx.execute<{ id: string }>(sql`
        select d.id from decisions d
        where d.at_ms < ${before_ms} and not ${undelivered} and not (${needed.decision(sql`d.id`)}) and not (${ofLiving})
        order by d.at_ms, d.id limit ${limit} for update of d skip locked`)
      const left = limit - rows.length
      if (left === 0) return rows.map(row => row.id)
      const actions = await tx.execute<{ id: string }>(sql`
        select d.id from action_decisions d
        where d.at_ms < ${before_ms} and d.day <= ${lastDay(before_ms)} and d.batch is not null and not ${undelivered}
          and not (${needed.decision(sql`d.id`)}) and not (${ofLiving})
        order by d.at_ms, d.id limit ${left} for update of d skip locked`)
      return [...rows, ...actions].map(row => row.id)
    },
    whole: async (tx, before_ms, after) => {
      const needless = (day: string) => sql`not exists (select from action_decisions d where d.day = ${day}::date
        and (d.at_ms >= ${before_ms} or d.batch is null or ${undelivered} or ${needed.decision(sql`d.id`)} or ${ofLiving}))`
      for (const day of (await keptDays(tx)).days) {
        if (day <= after || Date.parse(day) >= before_ms) continue
        const [found] = await tx.execute<{ any: boolean }>(
          sql`select ${needless(day)} and exists (select from action_decisions where day = ${day}::date) as any`,
        )
        if (!found!.any) continue
        const [held] = await tx.execute<{ held: boolean }>(sql`select decision_days.hold_still(${day}::date) as held`)
        if (!held!.held) continue
        const [part] = await tx.execute<{ still: boolean; n: string; first: string; last: string; ids: string }>(sql`
          select ${needless(day)} as still, count(*)::text as n, (array_agg(id order by at_ms, id))[1] as first,
            (array_agg(id order by at_ms desc, id desc))[1] as last,
            encode(sha256(convert_to(string_agg(id, chr(10) order by at_ms, id), 'UTF8')), 'hex') as ids
          from action_decisions where day = ${day}::date`)
        if (!part!.still) continue
        return {
          name: day,
          count: Number(part!.n),
          first: part!.first,
          last: part!.last,
          ids_digest: part!.ids,
          drop: async () => {
            const batches = await keepLeavesOfDay(tx, day)
            await tx.execute(sql`select decision_days.drop_day(${day}::date)`)
            await dropLeaves(tx, batches)
          },
        }
      }
      return undefined
    },
    remove: async (tx, ids, before_ms) => {
      const these = sql`any(${sql.param([...ids])}::text[])`
      const batches = await keepLeaves(tx, ids)
      await tx.execute(sql`delete from decisions where id = ${these}`)
      await tx.execute(sql`delete from action_decisions where id = ${these} and day <= ${lastDay(before_ms)}`)
      await dropLeaves(tx, batches)
      return []
    },
  }
}

/** A session began before it did anything: later days hold nothing that is so old. A day more is for clocks. */
const lastDay = (before_ms: number) =>
  sql`((to_timestamp(${before_ms}::double precision / 1000) at time zone 'UTC')::date + 1)`
