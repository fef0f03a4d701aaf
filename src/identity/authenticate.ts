import type { Desk } from './desk.ts'
import type { Identity } from './door.ts'
import { findToken, tokenPrefix } from './tokens.ts'
import { cliPrefix, findWebSession } from './web-sessions.ts'

/**
 * Who calls. INVARIANT: each kind of credential is good at its own place only: the cookie of a browser is no bearer, a
 * bearer is no cookie, and tickets, codes and ID tokens are neither.
 */
export function credentialReader(desk: Desk): Pick<Identity, 'authenticate'> {
  const { database, lifetimes } = desk
  return {
    authenticate: async ({ cookie, bearer }) => {
      if (bearer !== undefined) {
        if (bearer.length > 256) return null
        if (bearer.startsWith(cliPrefix)) return findWebSession(database, 'cli', bearer, lifetimes)
        if (!bearer.startsWith(tokenPrefix)) return null
        const found = await findToken(database, bearer)
        if (found.found === 'good') return found.caller
        if (found.found === 'refused') {
          const { id, why, subject_id } = found
          await desk.report({ type: 'token.refused', body: { token: id, why }, subject_id })
        }
        return null
      }
      return cookie === undefined ? null : findWebSession(database, 'web', cookie, lifetimes)
    },
  }
}
