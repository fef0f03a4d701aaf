import { and, count, eq, isNull } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { subjects } from '../identity/schema.ts'
import { mayAct } from '../identity/subjects.ts'
import { newId } from '../ids.ts'
import type { Decision } from '../policy/decision.ts'
import type { Permit } from '../policy/permit.ts'
import type { SubjectFacts } from '../policy/points.ts'
import { askedOf, buildAccessInput } from './access.ts'
import { bounds, problemOf, requestHash } from './bounds.ts'
import { clock } from './clock.ts'
import type { Client, Ground } from './ports.ts'
import { type Refused, refuse, refusedBy } from './refusal.ts'
import { grants, requests } from './schema.ts'
import { approveRequest, type GrantRow, type RequestRow, tellRequests } from './settle.ts'

export interface Ask {
  /** As authenticated now. */
  readonly subject: SubjectFacts
  readonly resource: string
  readonly role: string
  readonly duration_s: number
  readonly reason: string
  readonly ticket_ref: string | null
  readonly via: string
  readonly client: Omit<Client, 'via'>
}

export interface AskOptions {
  /** Only where policy allows at once: `ask` is a refusal then, and no request is left behind. */
  readonly standing?: boolean
}

export interface Answered {
  readonly refused: false
  readonly request: RequestRow
  /** Null while the request is pending. */
  readonly grant: GrantRow | null
  readonly decision: Decision<'access'>
}

/** Asks policy for a role on a resource: refused, granted at once, or waiting for the people whom policy names. */
export async function ask(ground: Ground, tx: Tx, wanted: Ask, options: AskOptions = {}): Promise<Answered | Refused> {
  const problem = problemOf(wanted)
  if (problem !== undefined) return refuse('bad_request', problem)
  const resource = ground.resources.get(wanted.resource)
  if (resource === undefined) return refuse('not_found', `there is no resource ${wanted.resource}`)
  const open = await lockAsker(tx, wanted.subject.id)
  if (open !== undefined) return open

  const now_at_ms = await clock(tx)
  const what = {
    id: newId('req'),
    subject_id: wanted.subject.id,
    on_behalf_of: wanted.subject.on_behalf_of,
    resource: resource.name,
    role: wanted.role,
    duration_s: wanted.duration_s,
    reason: wanted.reason,
    ticket_ref: wanted.ticket_ref,
  }
  const client = { ...wanted.client, via: wanted.via }
  const request = askedOf({ ...what, created_at_ms: now_at_ms })
  const input = buildAccessInput(
    {
      stage: 'request',
      subject: wanted.subject,
      resource,
      role: wanted.role,
      request,
      votes: [],
      grant: null,
      client,
      now_at_ms,
    },
    ground,
  )
  const { decision, permit } = ground.engine.decide('access', input, { request_id: what.id })
  await ground.decisionLog.insert(tx, decision)

  const refusal = refusalOf(decision, permit, wanted, options)
  if (refusal !== undefined) {
    await ground.audit.record(tx, {
      type: 'request.denied',
      body: {
        request_id: what.id,
        by: 'policy',
        outcome: refusal.message,
        role: wanted.role,
        via: wanted.via,
        decision_id: decision.id,
      },
      subject_id: wanted.subject.id,
      resource: resource.name,
    })
    return refusal
  }
  const pending = decision.effect === 'ask'
  const expires_s = pending ? decision.result!.approval!.expires_s : wanted.duration_s
  await ground.audit.record(tx, {
    type: 'request.created',
    body: {
      request_id: what.id,
      role: what.role,
      duration_s: what.duration_s,
      reason: what.reason,
      ticket_ref: what.ticket_ref,
      on_behalf_of: what.on_behalf_of,
      via: wanted.via,
      decision_id: decision.id,
    },
    subject_id: what.subject_id,
    resource: what.resource,
  })
  const [row] = await tx
    .insert(requests)
    .values({
      ...what,
      hash: requestHash(what),
      terms: decision.result?.approval ?? null,
      decision_id: decision.id,
      via: wanted.via,
      client,
      created_at: new Date(now_at_ms),
      expires_at: new Date(now_at_ms + expires_s * 1000),
    })
    .returning()
  if (pending) {
    await tellRequests(tx, what.id, 'pending')
    return { refused: false, request: row!, grant: null, decision }
  }
  const outcome = 'allowed by policy'
  const grant = await approveRequest(ground, tx, row!, decision, { by: 'policy', outcome, now_ms: now_at_ms })
  return { refused: false, request: { ...row!, state: 'approved', outcome }, grant, decision }
}

/** One subject's asks follow one another, so that their number stays bounded. Undefined: go on. */
async function lockAsker(tx: Tx, subject_id: string): Promise<Refused | undefined> {
  const [subject] = await tx
    .select({ id: subjects.id })
    .from(subjects)
    .where(and(eq(subjects.id, subject_id), mayAct))
    .for('no key update')
  if (subject === undefined)
    return refuse('unauthenticated', 'this account is unknown, disabled or signed out by the identity provider')
  const [pending] = await tx
    .select({ n: count() })
    .from(requests)
    .where(and(eq(requests.subject_id, subject_id), eq(requests.state, 'pending'), eq(requests.kind, 'access')))
  if (pending!.n >= bounds.pending) {
    return refuse(
      'rate_limited',
      `${pending!.n} requests of yours are waiting for an answer already`,
      'cancel one of them, or wait for an answer',
    )
  }
  const [live] = await tx
    .select({ n: count() })
    .from(grants)
    .where(and(eq(grants.subject_id, subject_id), isNull(grants.ended_at)))
  if (live!.n >= bounds.grants) {
    return refuse(
      'rate_limited',
      `you have ${live!.n} live grants already`,
      'give one of them back, or wait for one to end',
    )
  }
  return undefined
}

function refusalOf(
  decision: Decision<'access'>,
  permit: Permit | null,
  wanted: Ask,
  options: AskOptions,
): Refused | undefined {
  const result = decision.result
  if (decision.effect === 'ask' && options.standing) {
    const refusal = refusedBy(decision)
    return {
      ...refusal,
      message: `this needs an approval first: ${refusal.message}`,
      remedy: 'ask for access, and connect once it is approved',
      ask: true,
    }
  }
  if (decision.effect === 'ask' ? result?.approval === undefined : permit === null) return refusedBy(decision)
  const max_s = result?.grant?.max_s
  if (max_s === undefined) {
    return {
      ...refusedBy(decision),
      code: 'policy_unavailable',
      message: 'policy does not say how long this access may last',
      remedy: 'ask a security engineer to add `grant.max_s` to the result of `access`',
    }
  }
  if (wanted.duration_s > max_s) {
    return {
      ...refusedBy(decision),
      code: 'bad_request',
      message: `${wanted.duration_s} seconds were asked for; policy gives at most ${max_s} for ${wanted.role} on ${wanted.resource}`,
      remedy: `ask for ${max_s} seconds or fewer`,
    }
  }
  return undefined
}
