import type { Tx } from '../db/database.ts'
import { logger } from '../log.ts'
import { type Person, readPerson } from './claims.ts'
import { announceGroups, type Desk } from './desk.ts'
import type { Identity, Refusal } from './door.ts'
import { ProviderError } from './provider.ts'
import { putRefreshToken } from './refresh.ts'
import { hashFor, randomText, sameHash } from './secrets.ts'
import { keepWaiting, takeWaiting } from './sign-ins.ts'
import { putPerson } from './subjects.ts'
import { endWebSession, openWebSession } from './web-sessions.ts'

const log = logger('identity')
const signIn_s = 600

/** Sign-in of a browser: OpenID Connect authorization code with PKCE, state and nonce. */
export function webSignIn(desk: Desk): Pick<Identity, 'beginSignIn' | 'signInCookie' | 'finishSignIn' | 'signOut'> {
  const { database, provider, keys, lifetimes } = desk

  async function refuse(why: string, message: string, address: string, code: Refusal['code'] = 'unauthenticated') {
    await desk.report({ type: 'sign_in.refused', body: { why, address, issuer: provider.issuer } })
    return { ok: false, code, message } as const
  }

  const signInCookie = (state: string) => `sign-in-${hashFor('state', state).toString('hex').slice(0, 12)}`

  async function admit(
    tx: Tx,
    person: Person,
    refresh: string | undefined,
    address: string,
    agent: string | undefined,
  ) {
    const put = await putPerson(tx, provider.issuer, person)
    if (put === null) return null
    const { id, groups } = put.facts
    if (refresh !== undefined) await putRefreshToken(tx, keys.refreshTokens, id, refresh, desk.oidc.refresh_s)
    const session = await openWebSession(tx, { subject_id: id, kind: 'web', user_agent: agent, lifetimes })
    const body = { issuer: provider.issuer, groups, via: 'web', address, credential: session.credential }
    await desk.audit.record(tx, { type: 'sign_in.succeeded', body, subject_id: id })
    if (put.changed)
      await announceGroups(desk, tx, id, { changed: true, why: 'signed in', groups, sessions_ended: false })
    return { id, session, changed: put.changed }
  }

  return {
    signInCookie,

    beginSignIn: async ({ return_to, address }) => {
      const [nonce, verifier, browser] = [randomText(), randomText(), randomText()]
      const waiting = {
        nonce,
        verifier,
        browser: hashFor('browser', browser).toString('hex'),
        issuer: provider.issuer,
        return_to: localPath(return_to),
      }
      const state = await keepWaiting(database.db, keys.signIns, 'sign-in', waiting, signIn_s)
      if (state === null) return { ok: false, code: 'rate_limited', message: 'too many sign-ins are under way' }
      try {
        const url = await provider.authorizeUrl({ state, nonce, verifier })
        return { ok: true, url, cookie: signInCookie(state), browser }
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error
        log.warn({ reason: error.reason, address }, 'a sign-in could not begin')
        return { ok: false, code: 'not_ready', message: 'the identity provider cannot be reached' }
      }
    },

    finishSignIn: async ({ url, browser, address, user_agent }) => {
      const states = url.searchParams.getAll('state')
      const state = states.length === 1 ? states[0]! : ''
      const waiting = await takeWaiting(database.db, keys.signIns, 'sign-in', state)
      if (waiting === null) {
        return refuse(
          'unknown state',
          'this sign-in has expired, was finished before, or was not started here',
          address,
          'gone',
        )
      }
      if (browser === undefined || !sameHash(hashFor('browser', browser), Buffer.from(waiting.browser, 'hex'))) {
        return refuse('other browser', 'this sign-in was started in another browser', address)
      }
      if (waiting.issuer !== provider.issuer) {
        return refuse('other issuer', 'this sign-in was started with another identity provider', address)
      }
      try {
        const tokens = await provider.exchange(url, { state, nonce: waiting.nonce, verifier: waiting.verifier })
        const person = readPerson(tokens.claims, desk.oidc.groups_claim)
        if (!person.ok)
          return refuse(person.message, `the identity provider's answer does not fit: ${person.message}`, address)
        const admitted = await database.db.transaction(tx =>
          admit(tx, person.value, tokens.refresh_token, address, user_agent),
        )
        if (admitted === null) return refuse('disabled', 'this person may not sign in here', address)
        if (admitted.changed) desk.groupsChanged(admitted.id)
        const { return_to } = waiting
        return {
          ok: true,
          session: admitted.session.secret,
          max_age_s: lifetimes.web.absolute_s,
          return_to,
          subject_id: admitted.id,
        }
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error
        log.warn({ reason: error.reason, address }, 'a sign-in was refused')
        return refuse(error.reason, `the identity provider's answer was refused (${error.reason})`, address)
      }
    },

    signOut: async (caller, { cookie, bearer }) => {
      await database.db.transaction(async tx => {
        const web = caller.via === 'web' && cookie !== undefined && (await endWebSession(tx, 'web', cookie))
        const cli = caller.via === 'cli' && bearer !== undefined && (await endWebSession(tx, 'cli', bearer))
        if (!web && !cli) return
        const body = { why: 'signed out', via: caller.via, credential: caller.credential }
        await desk.audit.record(tx, { type: 'sign_in.ended', body, subject_id: caller.facts.id })
      })
      return { end_session_url: caller.via === 'web' ? await provider.endSessionUrl(`${desk.origin}/`) : null }
    },
  }
}

/**
 * A path of our own to go to after the sign-in; anything that a browser could read as another site becomes `/`.
 * Browsers drop tabs and newlines and read `\` as `/`.
 */
export function localPath(text: string): string {
  const fits = text.length <= 2048 && /^\/(?![/\\])[\x21-\x7e]*$/.test(text) && !text.includes('\\')
  return fits ? text : '/'
}
