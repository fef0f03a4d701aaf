import type { FastifyReply, FastifyRequest } from 'fastify'
import { SallyportError } from '../errors.ts'
import type { Credentials } from '../identity/door.ts'
import type { Caller } from '../identity/facts.ts'
import { Throttle } from '../identity/throttle.ts'
import type { Permit } from '../policy/permit.ts'
import { timeFacts } from '../policy/time.ts'
import { credentialsOf, isSameOrigin } from './credentials.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendDenied, sendError } from './errors.ts'

/**
 * The policy point of a route; each names exactly one. `admin` is decided by the guard, with `call`, `target` and `own` in
 * the input; for the other points the guard authenticates and the handler's room decides. `self` is for what a person may
 * always do with what is their own (their profile, their own sessions); `open` routes are the explicit list in this file.
 */
export type RouteGuard =
  | {
      readonly point: 'admin'
      readonly call: string
      readonly target?: (request: FastifyRequest, caller: Caller) => Facts | Promise<Facts>
      readonly own?: (request: FastifyRequest, caller: Caller) => boolean | Promise<boolean>
    }
  | { readonly point: 'access' | 'approve' | 'replay' }
  /** `interactive`: only for a person who signed in, never for an API token. */
  | { readonly point: 'self'; readonly interactive?: boolean }
  | { readonly point: 'open' }

type Facts = Readonly<Record<string, string>>

declare module 'fastify' {
  interface FastifyContextConfig {
    guard?: RouteGuard
  }
  interface FastifyRequest {
    caller: Caller | null
    permit: Permit | null
  }
}

/** INVARIANT: no other route answers somebody who is not authenticated. */
const openRoutes = new Set([
  'GET /healthz',
  'GET /readyz',
  'GET /metrics',
  'GET /openapi.json',
  'GET /auth/login',
  'GET /auth/callback',
  'GET /auth/cli',
  'POST /auth/cli/token',
  'POST /slack/events', // Slack signs each request
  'POST /slack/commands',
  'POST /slack/actions',
  'POST /api/policy/webhook/:sender', // the git server signs each request
  'GET /*', // the web UI's files
])

/** Puts the guard before every route of `app`. Routes registered before this call would escape it: call it first. */
export function installGuard(app: Api, deps: BaseDeps): void {
  app.decorateRequest('caller', null)
  app.decorateRequest('permit', null)

  app.addHook('onRoute', route => {
    const methods = [route.method].flat().filter(method => method !== 'HEAD')
    const { guard } = route.config ?? {}
    const name = `${methods.join('|')} ${route.url}`
    if (guard === undefined) throw new Error(`the route ${name} names no policy point`)
    if (guard.point === 'open' && !methods.every(method => openRoutes.has(`${method} ${route.url}`))) {
      throw new Error(`the route ${name} is not in the list of open routes`)
    }
    if (guard.point === 'admin' && !/^[a-z_]+(\.[a-z_]+)+$/.test(guard.call)) {
      throw new Error(`the route ${name} has the call ${guard.call}, which is not of the form area.verb`)
    }
  })

  const failures = new Throttle({ limit: deps.limits?.failures ?? 300, window_ms: 60_000 })

  app.addHook('onRequest', async (request, reply) => {
    const { guard } = request.routeOptions.config
    if (guard === undefined) return // no route: the not-found handler answers
    if (guard.point === 'open') return
    const credentials = credentialsOf(request, deps.config.origin)
    const caller = credentials === null ? null : await deps.identity.authenticate(credentials)
    if (caller === null) {
      if (!failures.take(request.ip))
        return sendError(reply, 'rate_limited', 'too many calls without a good credential')
      reply.header('www-authenticate', 'Bearer realm="sallyport"')
      return sendError(reply, 'unauthenticated', unknownCaller(credentials))
    }
    if (caller.via === 'web' && !isSafe(request.method) && !isSameOrigin(request, deps.config.origin)) {
      return sendError(
        reply,
        'bad_request',
        'the call came from another web site',
        `call it from ${deps.config.origin}`,
      )
    }
    if (guard.point === 'self' && !selfAllows(guard.interactive === true, caller, request.method)) {
      return sendError(reply, 'policy_denied', 'an API token may not do this', 'sign in, and do it yourself')
    }
    request.caller = caller
  })

  app.addHook('preHandler', async (request, reply) => {
    const { guard } = request.routeOptions.config
    if (guard?.point === 'admin') return decideAdmin(deps, guard, request, reply)
  })
}

async function decideAdmin(
  deps: BaseDeps,
  guard: RouteGuard & { point: 'admin' },
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply | undefined> {
  const caller = callerOf(request)
  const input = {
    subject: caller.facts,
    call: guard.call,
    target: { ...(await guard.target?.(request, caller)) },
    own: (await guard.own?.(request, caller)) ?? false,
    time: timeFacts(deps.now(), deps.config.zone),
  }
  const { decision, permit } = deps.engine.decide('admin', input)
  await deps.decisions.insert(deps.database.db, decision).catch(cause => {
    throw new SallyportError('audit_unavailable', 'the decision could not be written, so nothing was done', { cause })
  })
  if (permit === null) return sendDenied(reply, decision, guard.call)
  request.permit = permit
  return undefined
}

/** Whoever shows something that is not good any more should not look for a way to show it. */
function unknownCaller(credentials: Credentials | null): string {
  return credentials?.bearer === undefined
    ? 'this call needs a signed-in person or an API token'
    : 'this sign-in or API token is unknown, expired or revoked'
}

/** The caller of a guarded route. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === null) throw new SallyportError('unauthenticated', 'this call needs a caller')
  return request.caller
}

/** The Permit that the guard's `admin` decision gave. */
export function permitOf(request: FastifyRequest): Permit {
  if (request.permit === null) throw new SallyportError('policy_denied', 'no decision allowed this call')
  return request.permit
}

/** A scoped token reads what is its own; to change it takes a token for everything, or the person. */
function selfAllows(interactive: boolean, caller: Caller, method: string): boolean {
  const { token } = caller.facts
  if (token === null) return true
  return !interactive && (isSafe(method) || token.scopes.includes('*'))
}

function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}
