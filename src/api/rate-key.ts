import { createHash } from 'node:crypto'
import type { Credentials } from '../identity/door.ts'
import type { BaseDeps } from './deps.ts'

/**
 * Calls are counted by credential where there is one, so that an office behind one address is not one caller. A made-up
 * credential gains nothing: the guard counts failures by address.
 */
export function rateKey(address: string, credentials: Credentials | null): string {
  const presented = credentials?.bearer ?? credentials?.cookie
  return presented === undefined ? address : createHash('sha256').update(presented).digest('base64url').slice(0, 22)
}

/** The limit of routes that begin or end a sign-in: by address, because nobody is known there. */
export function signInLimit(deps: BaseDeps) {
  const keyGenerator = (request: { readonly ip: string }) => request.ip
  return { rateLimit: { max: deps.limits?.sign_ins ?? 60, timeWindow: '1 minute', keyGenerator } }
}
