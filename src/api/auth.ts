import type { FastifyReply } from 'fastify'
import { Type as T } from 'typebox'
import { errorCodes } from '../errors.ts'
import type { Refusal } from '../identity/door.ts'
import { clearCookie, clearSessionCookie, cookieOf, credentialsOf, setCookie, setSessionCookie } from './credentials.ts'
import type { Api, BaseDeps } from './deps.ts'
import { callerOf } from './guard.ts'
import { escapeHtml, sendPage } from './html.ts'
import { signInLimit } from './rate-key.ts'

const signInCookie_s = 600

/** Sign-in and sign-out of browsers. */
export function authRoutes(app: Api, deps: BaseDeps): void {
  const { identity } = deps
  const { origin } = deps.config
  const limit = signInLimit(deps)

  app.get(
    '/auth/login',
    {
      config: { guard: { point: 'open' }, ...limit },
      schema: {
        summary: 'Begin the sign-in of a browser',
        querystring: T.Object(
          { return_to: T.Optional(T.String({ maxLength: 2048 })) },
          { additionalProperties: false },
        ),
      },
    },
    async (request, reply) => {
      const begun = await identity.beginSignIn({ return_to: request.query.return_to ?? '/', address: request.ip })
      if (!begun.ok) return refusedPage(reply, begun)
      setCookie(reply, origin, begun.cookie, begun.browser, signInCookie_s)
      return reply.redirect(begun.url)
    },
  )

  app.get(
    '/auth/callback',
    { config: { guard: { point: 'open' }, ...limit }, schema: { summary: 'End the sign-in of a browser', hide: true } },
    async (request, reply) => {
      const url = new URL(request.url, origin)
      const cookie = identity.signInCookie(url.searchParams.get('state') ?? '')
      const done = await identity.finishSignIn({
        url,
        browser: cookieOf(request, origin, cookie),
        address: request.ip,
        user_agent: request.headers['user-agent'],
      })
      clearCookie(reply, origin, cookie)
      if (!done.ok) return refusedPage(reply, done)
      setSessionCookie(reply, origin, done.session, done.max_age_s)
      return reply.redirect(done.return_to)
    },
  )

  app.post(
    '/auth/logout',
    {
      config: { guard: { point: 'self' } },
      schema: {
        summary: 'End the session of the caller',
        response: { 200: T.Object({ end_session_url: T.Union([T.String(), T.Null()]) }) },
      },
    },
    async (request, reply) => {
      const ended = await identity.signOut(callerOf(request), credentialsOf(request, origin) ?? {})
      clearSessionCookie(reply, origin)
      return ended
    },
  )
}

function refusedPage(reply: FastifyReply, refusal: Refusal): FastifyReply {
  const { status, remedy } = errorCodes[refusal.code]
  return sendPage(reply, {
    status,
    title: 'You are not signed in',
    body: `<p>${escapeHtml(refusal.message)}.</p><p>What to do: ${escapeHtml(remedy)}.</p><p><a class="button" href="/auth/login">Sign in again</a></p>`,
  })
}
