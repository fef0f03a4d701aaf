import type { Desk } from './desk.ts'
import type { Identity } from './door.ts'
import { findSubject, putMachine } from './subjects.ts'
import { endToken, insertToken, listTokens } from './tokens.ts'

export const maxTokenLife_s = 366 * 86_400

/** Issuing, listing and revoking of API tokens. Whether the caller may is decided by the `admin` point before. */
export function tokenIssuing(desk: Desk): Pick<Identity, 'issueToken' | 'listTokens' | 'token' | 'revokeToken'> {
  const { database, audit } = desk
  return {
    issueToken: async (caller, input) => {
      if (input.expires_s < 60 || input.expires_s > maxTokenLife_s) {
        return {
          ok: false,
          code: 'bad_request',
          message: `a token lives between a minute and ${maxTokenLife_s / 86_400} days`,
        }
      }
      // INVARIANT: a token begets no token with more than its own scopes
      const own = caller.facts.token?.scopes
      if (own !== undefined && !own.includes('*') && !input.scopes.every(scope => own.includes(scope))) {
        return { ok: false, code: 'bad_request', message: 'a token may issue only tokens with scopes of its own' }
      }
      return database.db.transaction(async tx => {
        const { machine } = input
        const subject = machine
          ? await putMachine(tx, machine.name, machine.groups)
          : await findSubject(tx, caller.facts.id)
        if (subject === null) {
          return {
            ok: false,
            code: 'conflict',
            message: machine
              ? `the machine ${machine.name} exists with other groups or is disabled; give this one another name`
              : 'this person may not act here any more',
          } as const
        }
        const { name, scopes, expires_s } = input
        const issued = await insertToken(tx, {
          subject_id: subject.id,
          name,
          scopes,
          expires_s,
          created_by: caller.facts.id,
        })
        const body = {
          token: issued.id,
          name,
          scopes: [...scopes],
          by: caller.facts.id,
          groups: machine ? subject.groups : undefined,
        }
        await audit.record(tx, { type: 'token.issued', body, subject_id: subject.id })
        return { ok: true, ...issued } as const
      })
    },

    listTokens: filter => listTokens(database, filter),
    token: async id => (await listTokens(database, { id }))[0] ?? null,

    revokeToken: (caller, id) =>
      database.db.transaction(async tx => {
        const subject_id = await endToken(tx, id)
        if (subject_id === null) return false
        await audit.record(tx, { type: 'token.revoked', body: { token: id, by: caller.facts.id }, subject_id })
        return true
      }),
  }
}
