import { randomUUID } from 'node:crypto'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { Refused as RefusedValue } from '../approvals/refusal.ts'
import { type ErrorCode, errorCodes, SallyportError } from '../errors.ts'
import { sayFaults } from '../faults.ts'
import type { Refusal } from '../identity/door.ts'
import { logger } from '../log.ts'
import type { Decision } from '../policy/decision.ts'
import type { DecisionCode } from '../policy/points.ts'

const log = logger('api')

/** What every refusal of the API looks like. */
export const ErrorBody = T.Object({
  error: T.Object({
    code: T.String(),
    message: T.String(),
    remedy: T.String(),
    id: T.String(),
    rule: T.Optional(T.String()),
    at: T.Optional(T.String()), // file:line@commit
    decision_id: T.Optional(T.String()),
    ask: T.Optional(T.Literal(true)), // asking for access is the way to get it
  }),
})

interface Refused {
  readonly status: number
  readonly code: ErrorCode
  readonly message: string
  readonly remedy: string
  readonly facts?: Readonly<Record<string, unknown>>
}

/** The reason codes of a denial that are policy's answer or the caller's affair; all others are faults of the policy. */
const answered: ReadonlySet<DecisionCode> = new Set(['policy', 'token_scope', 'groups_stale', 'votes_unsatisfied'])

/** Answers with a denial. A denial is a value: handlers return what this returns. `call` says of what, where policy's words do not. */
export function sendDenied(reply: FastifyReply, decision: Decision, call?: string): FastifyReply {
  const reason = decision.reasons.find(r => r.remedy !== undefined) ?? decision.reasons[0]
  const code: ErrorCode =
    decision.code === 'unsupported'
      ? 'unsupported'
      : decision.code === 'input_invalid' || decision.code === 'input_too_large'
        ? 'bad_request'
        : answered.has(decision.code)
          ? 'policy_denied'
          : 'policy_unavailable'
  return send(reply, {
    status: errorCodes[code].status,
    code,
    message:
      (call === undefined ? '' : `${call}: `) +
      (decision.reasons.map(r => r.message).join('; ') || `policy denied this (${decision.code})`),
    remedy: reason?.remedy ?? errorCodes[code].remedy,
    facts: { rule: reason?.rule, at: reason?.at, decision_id: decision.id },
  })
}

/** Answers with what a room refused as a value. */
export function sendRefusal(reply: FastifyReply, { code, message }: Refusal): FastifyReply {
  return send(reply, { ...errorCodes[code], code, message })
}

/** Answers with what approvals or sessions refused as a value. */
export function sendRefused(reply: FastifyReply, refused: RefusedValue): FastifyReply {
  const { code, message, remedy, decision_id, reasons, ask } = refused
  const { rule, at } = reasons[0] ?? {}
  return send(reply, { status: errorCodes[code].status, code, message, remedy, facts: { rule, at, decision_id, ask } })
}

/** Answers with a code of the registry. */
export function sendError(reply: FastifyReply, code: ErrorCode, message: string, remedy?: string): FastifyReply {
  return send(reply, { status: errorCodes[code].status, code, message, remedy: remedy ?? errorCodes[code].remedy })
}

/** The one error handler: whatever was thrown becomes one shape, and what we did not foresee says nothing of itself. */
export function handleError(
  error: FastifyError | SallyportError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  if (error instanceof SallyportError) {
    if (error.status >= 500) log.error({ err: error, id: request.id }, error.message)
    return send(reply, error)
  }
  const foreseen = clientFault(error)
  if (foreseen !== null) return send(reply, foreseen)
  log.error({ err: error, id: request.id, route: request.routeOptions.url }, 'a call failed')
  return sendError(reply, 'internal', 'something went wrong on our side')
}

/** Faults of the caller that fastify and its plugins found. */
function clientFault(error: FastifyError): Refused | null {
  const bad = { code: 'bad_request', remedy: errorCodes.bad_request.remedy } as const
  if (error.validation !== undefined) {
    const where = error.validationContext ?? 'request'
    const problems = sayFaults(error.validation)
      .slice(0, 10)
      .map(line => `${where}${line}`)
    return { ...bad, status: 400, message: `the request does not fit: ${problems.join('; ')}` }
  }
  const status = error.statusCode ?? 500
  if (status === 429) return { ...errorCodes.rate_limited, code: 'rate_limited', message: 'too many calls from here' }
  if (status === 415) return { ...bad, status, message: 'the body must be application/json' }
  if (status === 413) return { ...bad, status, message: 'the body is larger than 256 KiB' }
  if (status >= 400 && status < 500) return { ...bad, status, message: `the request cannot be read (${error.code})` }
  return null
}

function send(reply: FastifyReply, { status, code, message, remedy, facts = {} }: Refused): FastifyReply {
  const text = (name: string) => (typeof facts[name] === 'string' ? { [name]: facts[name] } : {})
  const id = reply.request.id ?? randomUUID()
  const ask = facts['ask'] === true ? { ask: true } : {}
  const error = { code, message, remedy, id, ...text('rule'), ...text('at'), ...text('decision_id'), ...ask }
  return reply.code(status).header('cache-control', 'no-store').type('application/json').send({ error })
}
