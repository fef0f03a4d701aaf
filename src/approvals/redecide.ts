import { and, asc, eq, gt, isNull } from 'drizzle-orm'
import { canonical } from '../canonical.ts'
import type { Tx } from '../db/database.ts'
import type { Decision } from '../policy/decision.ts'
import type { SubjectFacts } from '../policy/points.ts'
import { buildAccessInput, type Cover, loadCoversById, loadVotes } from './access.ts'
import { clock } from './clock.ts'
import { renewTerms, settleByDecision } from './outcome.ts'
import type { EndedGrant, Ground } from './ports.ts'
import { decideAgain, holdOf } from './question.ts'
import { isVerdict, reasonText } from './refusal.ts'
import { grants, requests } from './schema.ts'
import { closeRequest, type GrantRow, revokeGrant } from './settle.ts'
import { loadSubjects } from './subjects.ts'

const page = 200

/** Grants that policy, as it is now, no longer gives. Looked at without locks; each is judged again under its lock. */
export async function suspectGrants(ground: Ground, subject_id?: string): Promise<string[]> {
  const { db } = ground.database
  const suspects: string[] = []
  for (let after = ''; ; ) {
    const rows = await db
      .select()
      .from(grants)
      .where(
        and(
          isNull(grants.ended_at),
          gt(grants.id, after),
          subject_id === undefined ? undefined : eq(grants.subject_id, subject_id),
        ),
      )
      .orderBy(asc(grants.id))
      .limit(page)
    const covers = await loadCoversById(
      db,
      rows.map(row => row.id),
    )
    const subjects = await loadSubjects(
      db,
      rows.map(row => row.subject_id),
    )
    const now_ms = await clock(db)
    for (const row of rows) {
      const cover = covers.get(row.id)
      if (cover !== undefined && ended(judge(ground, row, cover, subjects.get(row.subject_id), now_ms)))
        suspects.push(row.id)
    }
    if (rows.length < page) return suspects
    after = rows.at(-1)!.id
  }
}

/** Decides one live grant again under its lock, and revokes it when policy does not give it now. */
export async function redecideGrant(ground: Ground, tx: Tx, grant_id: string): Promise<EndedGrant | undefined> {
  const [grant] = await tx
    .select()
    .from(grants)
    .where(and(eq(grants.id, grant_id), isNull(grants.ended_at)))
    .for('no key update')
  if (grant === undefined) return undefined
  const cover = (await loadCoversById(tx, [grant.id])).get(grant.id)
  if (cover === undefined) return undefined // its time is over: the sweeper says so
  const subject = (await loadSubjects(tx, [grant.subject_id])).get(grant.subject_id)
  const now_ms = await clock(tx)
  const decision = judge(ground, grant, cover, subject, now_ms)
  if (!ended(decision)) return undefined
  if (decision !== undefined) await ground.decisionLog.insert(tx, decision)
  const reason =
    decision !== undefined
      ? `policy no longer allows this: ${decision.effect === 'ask' ? 'the recorded votes do not satisfy the approval it asks for now: ' : ''}${reasonText(decision)}`
      : subject === undefined
        ? 'the account is disabled or was signed out by the identity provider'
        : `policy no longer declares the resource ${grant.resource}`
  return await revokeGrant(ground, tx, grant, { by: 'policy', reason, now_ms, decision_id: decision?.id ?? null })
}

/** Decides one pending request again: policy may give it now, refuse it now, or ask other people. @returns whether it changed. */
export async function redecideRequest(ground: Ground, tx: Tx, request_id: string): Promise<boolean> {
  const [request] = await tx
    .select()
    .from(requests)
    .where(and(eq(requests.id, request_id), eq(requests.state, 'pending')))
    .for('no key update')
  const now_ms = await clock(tx)
  if (request === undefined || request.expires_at.getTime() <= now_ms) return false
  const resource = ground.resources.get(request.resource)
  const requester = (await loadSubjects(tx, [request.subject_id])).get(request.subject_id)
  if (resource === undefined || requester === undefined) {
    const outcome =
      resource === undefined
        ? `policy no longer declares the resource ${request.resource}`
        : 'the account that asked is disabled or was signed out by the identity provider'
    await closeRequest(ground, tx, request, { state: 'denied', by: 'policy', outcome, now_ms })
    return true
  }
  const hold = await holdOf(tx, request)
  const question = { request, requester: { ...requester, on_behalf_of: request.on_behalf_of }, resource, hold, now_ms }
  const decision = decideAgain(ground, question, await loadVotes(tx, { ...request, held: hold }, request.hash))
  if (!isVerdict(decision)) return false
  if (decision.effect === 'ask') {
    const terms = decision.result!.approval!
    if (request.terms !== null && canonical(terms) === canonical(request.terms)) return false
    await renewTerms(ground, tx, request.id, decision)
    return true
  }
  await settleByDecision(ground, tx, question, decision, 'allowed by policy as it is now', 'policy')
  return true
}

/** A policy that fails refuses at each door, but takes no grant away for ever. */
function ended(decision: Decision | undefined): boolean {
  return decision === undefined || (decision.effect !== 'allow' && isVerdict(decision))
}

/** Undefined: policy cannot even be asked, because the person or the resource is no longer there. */
function judge(ground: Ground, grant: GrantRow, cover: Cover, subject: SubjectFacts | undefined, now_at_ms: number) {
  const resource = ground.resources.get(grant.resource)
  if (subject === undefined || resource === undefined) return undefined
  const input = buildAccessInput(
    {
      stage: 'live',
      subject: { ...subject, on_behalf_of: cover.on_behalf_of },
      resource,
      role: grant.role,
      request: cover.request,
      votes: cover.votes,
      grant: cover,
      client: cover.client,
      now_at_ms,
    },
    ground,
  )
  return ground.engine.decide('access', input, { request_id: cover.request.id }).decision
}
