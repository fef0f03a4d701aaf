import { sql } from 'drizzle-orm'
import { personalGrants, personalRequests, personalReviews } from './approvals/personal.ts'
import { decisionOfRequests, requestClass } from './approvals/retention.ts'
import type { AuditWriter } from './audit/events.ts'
import { type PersonalRows, personalEvents } from './audit/personal.ts'
import { decisionClass } from './policy/log/decision-retention.ts'
import type { LogClass, Needed } from './policy/log/log-class.ts'
import { personalDecisions, personalDivergences } from './policy/log/personal-decisions.ts'
import type { Erasure } from './recording/erasure.ts'
import { type FloorClass, setFloor } from './recording/floors.ts'
import { decisionOfRecordings, sessionOfRecordings } from './recording/log-retention.ts'
import type { ProposalOptions } from './recording/proposals.ts'
import { personalConnections } from './sessions/personal.ts'
import { decisionOfSessions, grantOfSessions, liveSession, sessionClass } from './sessions/retention.ts'
import { forgetRequests } from './slack/forget.ts'

/** Logs in the order in which they are deleted, each with what the rooms above it still need of its rows. */
export function logClasses(): LogClass[] {
  const either =
    (...needs: readonly Needed[]): Needed =>
    id =>
      sql.join(
        needs.map(need => sql`(${need(id)})`),
        sql` or `,
      )
  return [
    sessionClass({ needed: sessionOfRecordings }),
    requestClass({ grant: grantOfSessions, forget: forgetRequests }),
    decisionClass({
      decision: either(decisionOfRequests, decisionOfSessions, decisionOfRecordings),
      session: either(liveSession, sessionOfRecordings),
    }),
  ]
}

/** What the rooms keep of a person, each in its own tables. */
export function personalRows(): PersonalRows[] {
  return [
    personalEvents,
    personalDecisions,
    personalDivergences,
    personalRequests(forgetRequests),
    personalGrants,
    personalReviews,
    personalConnections,
  ]
}

/** What a second person's word sets going, in the transaction that writes it down. */
export function effectsOf(audit: AuditWriter, erasure: Erasure): ProposalOptions['effects'] {
  return {
    floor: (tx, { body, proposed_by, answered_by, reason, decision_id }) =>
      setFloor(tx, audit, {
        class: body['class'] as FloorClass,
        keep_s: Number(body['keep_s']),
        by: proposed_by,
        confirmed_by: answered_by ?? undefined,
        reason,
        decision_id: decision_id ?? '',
      }),
    erasure: (tx, { body }) => erasure.check(tx, String(body['subject_id'])), // the job does the rest, and goes on after any stop
  }
}
