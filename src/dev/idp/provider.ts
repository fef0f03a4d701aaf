import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Configuration, Provider } from 'oidc-provider'
import { page, signInPage } from './page.ts'
import { People } from './people.ts'
import { adapterOf, State } from './state.ts'

export interface DevClient {
  readonly client_id: string
  readonly client_secret?: string | undefined
  readonly redirect_uris: readonly string[]
  readonly post_logout_redirect_uris?: readonly string[] | undefined
}

export interface DevIdentityProvider {
  readonly issuer: string
  readonly port: number
  /** @returns false for nobody we know. Tokens already given out do not change; the next refresh does. */
  setGroups(sub: string, groups: readonly string[]): boolean
  /** The person leaves: refreshing answers `invalid_grant` from now on. */
  removePerson(sub: string): boolean
  stop(): Promise<void>
}

const maxBody = 8 * 1024

/** Starts the development identity provider on loopback. @param options.dataDir keeps keys and refresh tokens over restarts. */
export async function startIdentityProvider(options: {
  port: number
  issuer?: string
  clients: readonly DevClient[]
  dataDir?: string
}): Promise<DevIdentityProvider> {
  const server = createServer()
  await listen(server, options.port)
  const issuer = options.issuer ?? `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const state = new State(options.dataDir)
  const people = new People(state.savedPeople, () => state.changed())
  state.people = () => people.all()
  const provider = new Provider(issuer, configuration(options.clients, state, people))
  forgetSessions(provider)
  const fallback = provider.callback()
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    void route(request, response).catch(error => {
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain' })
      response.end(`the development identity provider failed: ${(error as Error).message}\n`)
    })
  })

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', issuer)
    const [, first, second, third] = pathname.split('/')
    if (first === 'interaction' && second !== undefined) return interact(request, response, second, third)
    if (first === 'dev' && second === 'people') return develop(request, response, third, pathname.split('/')[4])
    await fallback(request, response)
  }

  async function interact(request: IncomingMessage, response: ServerResponse, uid: string, step: string | undefined) {
    const details = await provider.interactionDetails(request, response)
    if (details.uid !== uid) throw new Error('this sign-in belongs to another browser tab')
    if (request.method !== 'POST' || step !== 'sign-in') return html(response, signInPage(uid, people.all()))
    const person = people.find(new URLSearchParams(await bodyOf(request)).get('sub') ?? '')
    if (person === undefined) return html(response, signInPage(uid, people.all()))
    const grant = new provider.Grant({ accountId: person.sub, clientId: String(details.params['client_id']) })
    grant.addOIDCScope(String(details.params['scope']))
    const consent = { grantId: await grant.save() }
    await provider.interactionFinished(request, response, { login: { accountId: person.sub }, consent })
  }

  /** `POST /dev/people/SUB/groups {"groups": […]}` and `DELETE /dev/people/SUB`. JSON only, and from no other web site. */
  async function develop(
    request: IncomingMessage,
    response: ServerResponse,
    sub: string | undefined,
    what: string | undefined,
  ) {
    const { origin, host, 'content-type': type } = request.headers
    if (host !== new URL(issuer).host || (origin !== undefined && origin !== issuer))
      return json(response, 403, { error: 'wrong origin' })
    if (request.method === 'GET' && sub === undefined) return json(response, 200, { people: people.all() })
    if (request.method === 'DELETE' && sub !== undefined) {
      return json(response, people.remove(sub) ? 200 : 404, { people: people.all() })
    }
    if (request.method !== 'POST' || sub === undefined || what !== 'groups' || type !== 'application/json') {
      return json(response, 400, { error: 'POST /dev/people/SUB/groups with {"groups": ["…"]} as application/json' })
    }
    const body = JSON.parse(await bodyOf(request)) as { groups?: unknown }
    if (!Array.isArray(body.groups) || !body.groups.every(group => typeof group === 'string')) {
      return json(response, 400, { error: '"groups" is a list of texts' })
    }
    return json(response, people.setGroups(sub, body.groups) ? 200 : 404, { people: people.all() })
  }

  return {
    issuer,
    port: (server.address() as AddressInfo).port,
    setGroups: (sub, groups) => people.setGroups(sub, groups),
    removePerson: sub => people.remove(sub),
    stop: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
      state.save()
    },
  }
}

function configuration(clients: readonly DevClient[], state: State, people: People): Configuration {
  return {
    adapter: adapterOf(state),
    clients: clients.map(client => ({
      client_id: client.client_id,
      ...(client.client_secret === undefined
        ? { token_endpoint_auth_method: 'none' as const }
        : { client_secret: client.client_secret, token_endpoint_auth_method: 'client_secret_basic' as const }),
      redirect_uris: [...client.redirect_uris],
      post_logout_redirect_uris: [...(client.post_logout_redirect_uris ?? [])],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    })),
    jwks: { keys: [state.jwk] },
    cookies: { keys: [state.cookieKey] },
    pkce: { required: () => true },
    scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
    claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
    conformIdTokenClaims: false, // groups in the ID token, as most identity providers do
    findAccount: (_, sub) => {
      const person = people.find(sub)
      if (person === undefined) return undefined
      const { name, email, groups } = person
      return { accountId: sub, claims: async () => ({ sub, name, email, email_verified: true, groups: [...groups] }) }
    },
    rotateRefreshToken: true,
    expiresWithSession: () => false,
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => {
          ctx.body = page('Sign out', `${form}<button form="op.logoutForm" name="logout" value="yes">Sign out</button>`)
        },
        postLogoutSuccessSource: ctx => {
          ctx.body = page('Signed out', '<p>You can close this page.</p>')
        },
      },
    },
    ttl: {
      AccessToken: 300,
      IdToken: 300,
      RefreshToken: 14 * 86_400,
      Grant: 14 * 86_400,
      Interaction: 600,
      Session: 600,
    },
    renderError: (ctx, out) => {
      ctx.type = 'html'
      ctx.body = page(
        'This did not work',
        `<p>${out.error}: ${(out.error_description ?? '').replace(/[<>&]/g, '')}</p>`,
      )
    },
  }
}

/** Each sign-in asks who you are: whoever tries the product alone plays several people in one browser. */
function forgetSessions(provider: Provider): void {
  provider.use(async (ctx, next) => {
    await next()
    const { oidc } = ctx
    if (oidc?.route === 'resume' && oidc.session?.accountId !== undefined && ctx.status === 303)
      await oidc.session.destroy()
  })
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk as string
    if (text.length > maxBody) throw new Error('the body is too long')
  }
  return text
}

function html(response: ServerResponse, body: string): void {
  response.writeHead(200, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'x-frame-options': 'DENY',
  })
  response.end(body)
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}
