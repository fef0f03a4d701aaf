import type { Tx } from '../db/database.ts'
import type { Desk } from './desk.ts'
import type { Identity, NewToken, Refusal } from './door.ts'
import type { Caller } from './facts.ts'
import { findSubject, putMachine } from './subjects.ts'
import { countTokens, endToken, insertToken, listTokens, lockToken } from './tokens.ts'

export const maxTokenLife_s = 366 * 86_400
/** Good tokens of one subject. Whoever has more has lost count of them; and each has calls a minute of its own. */
export const maxTokens = 100

const refuse = (code: Refusal['code'], message: string): Refusal => ({ ok: false, code, message })

/** Issuing, listing and revoking of API tokens. Whether the caller may is decided by the `admin` point before. */
export function tokenIssuing(desk: Desk): Pick<Identity, 'issueToken' | 'listTokens' | 'token' | 'revokeToken'> {
  const { database, audit } = desk
  return {
    issueToken: async (caller, input) => {
      if (input.expires_s < 60 || input.expires_s > maxTokenLife_s)
        return refuse('bad_request', `a token lives between a minute and ${maxTokenLife_s / 86_400} days`)
      return database.db.transaction(async tx => {
        const tooMuch = await refusalToBeget(tx, caller, input)
        if (tooMuch !== undefined) return tooMuch
        const { machine } = input
        const subject = machine
          ? await putMachine(tx, machine.name, machine.groups)
          : await findSubject(tx, caller.facts.id)
        if (subject === null) {
          const message = machine
            ? `the machine ${machine.name} exists with other groups or is disabled; give this one another name`
            : 'this person may not act here any more'
          return refuse('conflict', message)
        }
        if ((await countTokens(tx, subject.id)) >= maxTokens)
          return refuse('conflict', `${subject.name} has ${maxTokens} good tokens already; revoke one of them first`)
        const { name, scopes, expires_s } = input
        const issued_with = caller.facts.token?.id ?? null
        const issued = await insertToken(tx, {
          subject_id: subject.id,
          name,
          scopes,
          expires_s,
          created_by: caller.facts.id,
          issued_with,
        })
        const body = {
          token: issued.id,
          name,
          scopes: [...scopes],
          by: caller.facts.id,
          issued_with,
          groups: machine ? subject.groups : undefined,
        }
        await audit.record(tx, { type: 'token.issued', body, subject_id: subject.id })
        return { ok: true, ...issued } as const
      })
    },

    listTokens: filter => listTokens(database, filter),
    token: async id => (await listTokens(database, { id, limit: 1 }))[0] ?? null,

    revokeToken: (caller, id) =>
      database.db.transaction(async tx => {
        const ended = await endToken(tx, id)
        for (const token of ended) {
          const body = { token: token.id, by: caller.facts.id, with: token.id === id ? undefined : id }
          await audit.record(tx, { type: 'token.revoked', body, subject_id: token.subject_id })
        }
        return ended.length > 0
      }),
  }
}

/** INVARIANT: a token begets no token with more than its own scopes, and none that outlives it. */
async function refusalToBeget(tx: Tx, caller: Caller, input: NewToken): Promise<Refusal | undefined> {
  const own = caller.facts.token
  if (own === null) return undefined
  if (!own.scopes.includes('*') && !input.scopes.every(scope => own.scopes.includes(scope)))
    return refuse('bad_request', 'a token may issue only tokens with scopes of its own')
  const left_s = await lockToken(tx, own.id)
  if (left_s === null) return refuse('unauthenticated', 'the token of this call has ended')
  if (input.expires_s > left_s)
    return refuse('bad_request', `a token may issue only tokens that end before it does: in ${left_s} seconds`)
  return undefined
}
