import type { FastifyRequest } from 'fastify'
import type { Caller } from '../identity/facts.ts'

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
  | { readonly point: 'self' | 'access' | 'approve' | 'replay' }
  | { readonly point: 'open' }

type Facts = Readonly<Record<string, string>>

declare module 'fastify' {
  interface FastifyContextConfig {
    guard?: RouteGuard
  }
}
