import { type SQL, sql } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import type { LogClass, Needed } from '../policy/log/log-class.ts'

/** Decisions that requests, votes and grants stand on. */
export const decisionOfRequests: Needed = (id: SQL) => sql`
  exists (select from requests r where r.decision_id = ${id})
  or exists (select from votes v where v.decision_id = ${id})
  or exists (select from grants g where g.decision_id = ${id})
  or exists (select from reviews v where ${id} in (v.decision_id, v.answer_decision_id))`

/**
 * Requests with their votes, grant and review, from the end of whatever ended last of them. One whose review is open stays.
 * @param options.grant what tickets and sessions need of a grant
 * @param options.forget called before the rows go: what a higher room keeps of these requests
 */
export function requestClass(options: {
  readonly grant: Needed
  readonly forget: (tx: Tx, requests: readonly string[]) => Promise<void>
}): LogClass {
  return {
    name: 'requests',
    expired: async (tx, before_ms, limit) => {
      const before = sql`to_timestamp(${before_ms}::double precision / 1000)`
      const rows = await tx.execute<{ id: string }>(sql`
        select r.id from requests r
        where r.ended_at < ${before} and not exists (
          select from grants g where g.request_id = r.id and (g.ended_at is null or g.ended_at >= ${before} or ${options.grant(sql`g.id`)}))
          and not exists (select from reviews v where v.request_id = r.id and (v.answered_at is null or v.answered_at >= ${before}))
        order by r.ended_at, r.id limit ${limit} for update of r skip locked`)
      return rows.map(row => row.id)
    },
    remove: async (tx, ids, before_ms) => {
      const these = sql`any(${sql.param([...ids])}::text[])`
      const events = await tx.execute<{ id: string }>(sql`
        select e.id from audit_inbox e
        where e.type in ('request.created', 'request.approved', 'request.denied', 'request.expired', 'request.cancelled',
            'action.held', 'action.released', 'action.refused',
            'vote.cast', 'vote.refused', 'grant.started', 'grant.revoked', 'grant.ended',
            'review.opened', 'review.overdue', 'review.answered', 'review.refused')
          and (e.type not in ('vote.refused', 'review.refused') or e.at_ms < ${before_ms})
          and e.body is not null and e.body::jsonb ->> 'request_id' = ${these}`)
      await options.forget(tx, ids)
      await tx.execute(sql`delete from reviews where request_id = ${these}`)
      await tx.execute(sql`delete from holds where request_id = ${these}`)
      await tx.execute(sql`delete from votes where request_id = ${these}`)
      await tx.execute(sql`delete from grants where request_id = ${these}`)
      await tx.execute(sql`delete from requests where id = ${these}`)
      return events.map(event => event.id)
    },
  }
}
