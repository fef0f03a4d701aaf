import type { Tx } from '../db/database.ts'
import type { Desk } from './desk.ts'
import type { Identity, SlackBinding } from './door.ts'
import { accountOfSubject, bindAccount, insertLinkCode, removeBinding, subjectOfAccount } from './slack-links.ts'
import { Throttle } from './throttle.ts'

/** Binding of Slack accounts: the code is shown on the signed-in page and typed into Slack, never the other way round. */
export function slackLinking(
  desk: Desk,
): Pick<Identity, 'createLinkCode' | 'bindSlack' | 'unbindSlack' | 'bySlack' | 'slackOf'> {
  const { database, audit, keys } = desk
  const tries = new Throttle({ limit: 10, window_ms: 600_000 })
  const recordUnbound = async (tx: Tx, subject_id: string, gone: SlackBinding, why: string) => {
    const body = { team_id: gone.team_id, user_id: gone.user_id, why }
    await audit.record(tx, { type: 'slack.unbound', body, subject_id })
  }
  const refusals = {
    unknown_code: ['gone', 'the code is wrong, has expired or was used before'],
    other_subject: ['conflict', 'this Slack account is bound to somebody else, who must unlink it first'],
  } as const

  return {
    createLinkCode: subject_id => database.db.transaction(tx => insertLinkCode(tx, keys.links, subject_id)),

    bindSlack: async input => {
      const { team_id, user_id } = input
      if (!tries.take(`${team_id}\0${user_id}`)) {
        return { ok: false, code: 'rate_limited', message: 'too many codes were tried from this Slack account' }
      }
      const bound = await database.db.transaction(async tx => {
        const result = await bindAccount(tx, keys.links, input)
        if (!result.bound) {
          await audit.record(tx, { type: 'slack.refused', body: { team_id, user_id, why: result.why } })
          return result
        }
        if (result.replaced !== null)
          await recordUnbound(tx, result.facts.id, result.replaced, 'another account was linked')
        await audit.record(tx, { type: 'slack.bound', body: { team_id, user_id }, subject_id: result.facts.id })
        return result
      })
      if (bound.bound) return { ok: true, subject: { id: bound.facts.id, name: bound.facts.name } }
      const [code, message] = refusals[bound.why]
      return { ok: false, code, message }
    },

    unbindSlack: subject_id =>
      database.db.transaction(async tx => {
        const gone = await removeBinding(tx, subject_id)
        if (gone === null) return false
        await recordUnbound(tx, subject_id, gone, 'unlinked')
        return true
      }),

    bySlack: (team_id, user_id) => subjectOfAccount(database, team_id, user_id),
    slackOf: subject_id => accountOfSubject(database, subject_id),
  }
}
