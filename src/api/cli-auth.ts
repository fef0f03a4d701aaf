import { Type as T } from 'typebox'
import { confirmationText } from '../identity/pkce.ts'
import { credentialsOf, isSameOrigin } from './credentials.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError, sendRefusal } from './errors.ts'
import { callerOf } from './guard.ts'
import { escapeHtml, sendPage } from './html.ts'
import { signInLimit } from './rate-key.ts'

/** What the command line asks for: where it listens, its PKCE challenge, and a state that only it knows. */
const Ask = T.Object(
  {
    port: T.Integer({ minimum: 1024, maximum: 65_535 }),
    challenge: T.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
    state: T.String({ pattern: '^[A-Za-z0-9_-]{22,128}$' }),
  },
  { additionalProperties: false },
)

/** Sign-in of the command line by a redirect to loopback (RFC 8252 §7.3, PKCE of RFC 7636, `iss` of RFC 9207). */
export function cliAuthRoutes(app: Api, deps: BaseDeps): void {
  const { identity } = deps
  const { origin } = deps.config
  const limit = signInLimit(deps)

  // The page's form has no fields: what it confirms stands in the address. Only this route takes a form at all.
  app.register(async scope => {
    scope.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string', bodyLimit: 64 },
      (_, __, done) => done(null, {}),
    )
    const form: Api = scope.withTypeProvider()
    form.post(
      '/auth/cli',
      { config: { guard: { point: 'self', interactive: true } }, schema: { hide: true, querystring: Ask } },
      async (request, reply) => {
        const caller = callerOf(request)
        if (caller.via !== 'web' || !isSameOrigin(request, origin)) {
          return sendError(reply, 'bad_request', 'only the page in a signed-in browser can allow the command line')
        }
        const { port, challenge, state } = request.query
        const code = await identity.issueCliCode(caller, { challenge, port })
        return reply.redirect(`http://127.0.0.1:${port}/?${new URLSearchParams({ code, state, iss: origin })}`, 303)
      },
    )
  })

  app.get(
    '/auth/cli',
    {
      config: { guard: { point: 'open' }, ...limit },
      schema: { summary: 'Ask a person to allow their command line', querystring: Ask },
    },
    async (request, reply) => {
      const credentials = credentialsOf(request, origin)
      const caller = credentials === null ? null : await identity.authenticate(credentials)
      if (caller?.via !== 'web') return reply.redirect(`/auth/login?${new URLSearchParams({ return_to: request.url })}`)
      const { port, challenge } = request.query
      const { name, email } = caller.facts
      const other = `/auth/login?${new URLSearchParams({ return_to: request.url })}`
      return sendPage(reply, {
        title: 'Allow the command line?',
        form: `http://127.0.0.1:${port}`,
        body: `<p>The <b>sallyport</b> command on this machine (port ${port}) asks to act as
<b>${escapeHtml(name)}</b>${email === null ? '' : ` (${escapeHtml(email)})`}.</p>
<p>Your terminal must show the same words: <br><code>${confirmationText(challenge)}</code></p>
<p>If you did not start <b>sallyport login</b> just now, close this page.</p>
<form method="post" action="${escapeHtml(request.url)}"><button>Allow</button></form>
<p>Not ${escapeHtml(name)}? <a href="${escapeHtml(other)}">Sign in as somebody else</a>.</p>`,
      })
    },
  )

  app.post(
    '/auth/cli/token',
    {
      config: { guard: { point: 'open' }, ...limit },
      schema: {
        summary: 'Exchange the code of a command line for its bearer',
        body: T.Object(
          { code: T.String({ maxLength: 128 }), verifier: T.String({ maxLength: 128 }) },
          { additionalProperties: false },
        ),
        response: {
          200: T.Object({
            token: T.String(),
            expires_at_ms: T.Integer(),
            subject: T.Object({ id: T.String(), name: T.String() }),
          }),
        },
      },
    },
    async (request, reply) => {
      const { code, verifier } = request.body
      const { 'user-agent': user_agent } = request.headers
      const redeemed = await identity.redeemCliCode({ code, verifier, address: request.ip, user_agent })
      if (!redeemed.ok) return sendRefusal(reply, redeemed)
      const { token, expires_at_ms, subject } = redeemed
      return { token, expires_at_ms, subject }
    },
  )
}
