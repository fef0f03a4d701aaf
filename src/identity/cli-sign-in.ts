import { SallyportError } from '../errors.ts'
import type { Desk } from './desk.ts'
import type { Identity } from './door.ts'
import { challengeOf, isVerifier } from './pkce.ts'
import { sameHash } from './secrets.ts'
import { keepWaiting, takeWaiting } from './sign-ins.ts'
import { findSubject } from './subjects.ts'
import { openWebSession } from './web-sessions.ts'

const code_s = 60
/** Sign-in of the command line through a signed-in browser and a redirect to loopback (RFC 8252 §7.3). */
export function commandLineSignIn(desk: Desk): Pick<Identity, 'issueCliCode' | 'redeemCliCode'> {
  const { database, keys, lifetimes } = desk
  const refused = {
    ok: false,
    code: 'gone',
    message: 'the code has expired, was used before, or belongs to another command line',
  } as const

  return {
    issueCliCode: async (caller, { challenge, port }) => {
      const value = { subject_id: caller.facts.id, challenge, port }
      const code = await keepWaiting(database.db, keys.signIns, 'cli-code', value, code_s)
      if (code === null) throw new SallyportError('rate_limited', 'too many sign-ins are under way')
      return code
    },

    redeemCliCode: async ({ code, verifier, address, user_agent }) => {
      if (!isVerifier(verifier)) return refused
      return database.db.transaction(async tx => {
        const waiting = await takeWaiting(tx, keys.signIns, 'cli-code', code)
        const facts = waiting === null ? null : await findSubject(tx, waiting.subject_id)
        if (waiting === null || facts === null) return refused
        if (!sameHash(Buffer.from(challengeOf(verifier)), Buffer.from(waiting.challenge))) {
          const body = { why: 'wrong verifier', via: 'cli', address }
          await desk.audit.record(tx, { type: 'sign_in.refused', body, subject_id: facts.id })
          return refused
        }
        const opened = await openWebSession(tx, {
          subject_id: facts.id,
          kind: 'cli',
          user_agent,
          lifetimes,
        })
        const body = { via: 'cli', address, credential: opened.credential, groups: facts.groups, issuer: facts.issuer }
        await desk.audit.record(tx, { type: 'sign_in.succeeded', body, subject_id: facts.id })
        const subject = { id: facts.id, name: facts.name }
        return { ok: true, token: opened.secret, expires_at_ms: opened.expires_at_ms, subject } as const
      })
    },
  }
}
