import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Secret } from '../../secret.ts'
import { Interactions, type Sent } from './interactions.ts'
import { first, paneHtml, standInPage, viewHtml } from './page.ts'
import { callWebApi } from './web-api.ts'
import { type OpenView, type StoredMessage, users, Workspace } from './workspace.ts'

/** `down` breaks the connection, `ratelimited` answers 429, `error` answers 500: of the Web API only. */
export type Outage = 'none' | 'down' | 'ratelimited' | 'error'

export interface SlackStandIn {
  /** The page for people. */
  readonly url: string
  /** What the application gives to its Web API client. */
  readonly apiUrl: string
  stop(): Promise<void>
  /** Messages of a channel (by name or id; a person's id: their direct messages) or of all, oldest first; `user` adds what only they see. */
  messages(filter?: { channel?: string; user?: string }): StoredMessage[]
  view(user: string): OpenView | undefined
  command(user: string, text: string, channel?: string): Promise<Sent>
  click(user: string, message: StoredMessage, action_id: string, change?: Record<string, unknown>): Promise<Sent>
  submitView(user: string, values: Readonly<Record<string, string>>, change?: Record<string, unknown>): Promise<Sent>
  /** Sends a body as it is, with right or wrong headers. */
  send: Interactions['send']
  sign: Interactions['sign']
  setOutage(mode: Outage, retryAfter_s?: number): void
  /** Calls of the Web API so far, by method. */
  readonly calls: ReadonlyMap<string, number>
}

const maxBody = 512 * 1024

/** A stand-in for Slack on loopback: its Web API, its signed requests, and a page that shows what people would see. */
export async function startSlackStandIn(options: {
  readonly port: number
  readonly signingSecret: Secret
  readonly botToken: Secret
  readonly teamId: string
  /** Where commands, forms and clicks go. */
  readonly eventsUrl: string
  /** Keeps messages over a restart; without it they are gone. */
  readonly dataDir?: string
}): Promise<SlackStandIn> {
  const workspace = new Workspace(
    options.teamId,
    options.dataDir === undefined ? null : join(options.dataDir, 'messages.json'),
  )
  let url = ''
  const interactions = new Interactions({
    workspace,
    signingSecret: options.signingSecret,
    target: options.eventsUrl,
    base: () => url,
  })
  const calls = new Map<string, number>()
  let outage: Outage = 'none'
  let retryAfter = 1

  const server = createServer((request, response) => {
    route(request, response).catch(error => {
      if (!response.headersSent) response.writeHead(400, { 'content-type': 'text/plain' })
      response.end(`${(error as Error).message}\n`)
    })
  })

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', url)
    const [, area, name] = pathname.split('/')
    if (area === 'api' && request.method === 'POST') return api(request, response, name ?? '')
    if (area === 'response' && request.method === 'POST')
      return json(response, 200, interactions.respond(name ?? '', await bodyOf(request)))
    if (request.headers.host !== new URL(url).host) return json(response, 403, { error: 'wrong host' })
    const user = users.find(u => u.id === searchParams.get('user'))?.id ?? users[0]!.id
    const channel = first(workspace, user, searchParams.get('channel') ?? '')
    if (area === 'dev' && name === 'pane') {
      return json(response, 200, { pane: paneHtml(workspace, user, channel), view: viewHtml(workspace.viewOf(user)) })
    }
    if (area === 'dev' && request.method === 'POST') return act(request, response, name ?? '')
    if (pathname !== '/') return json(response, 404, { error: 'there is nothing here' })
    if (!searchParams.has('user') || !searchParams.has('channel')) {
      return void response.writeHead(302, { location: `/?${new URLSearchParams({ user, channel })}` }).end()
    }
    const nonce = randomBytes(16).toString('base64')
    response.writeHead(200, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'`,
    })
    response.end(standInPage(workspace, user, channel, nonce))
  }

  async function api(request: IncomingMessage, response: ServerResponse, method: string): Promise<void> {
    calls.set(method, (calls.get(method) ?? 0) + 1)
    if (outage === 'down') return void request.socket.destroy()
    if (outage === 'error') return json(response, 500, { ok: false, error: 'internal_error' })
    if (outage === 'ratelimited') {
      response.setHeader('retry-after', String(retryAfter))
      return json(response, 429, { ok: false, error: 'ratelimited' })
    }
    const body = await bodyOf(request)
    const isJson = request.headers['content-type']?.startsWith('application/json') === true
    const args = (isJson ? JSON.parse(body || '{}') : Object.fromEntries(new URLSearchParams(body))) as Record<
      string,
      unknown
    >
    const bearer =
      request.headers.authorization?.replace(/^Bearer /, '') ??
      (typeof args['token'] === 'string' ? args['token'] : undefined)
    json(response, 200, callWebApi(workspace, options.botToken, method, bearer, args))
  }

  /** What the page does for the person that was chosen. JSON only, and from no other web site. */
  async function act(request: IncomingMessage, response: ServerResponse, what: string): Promise<void> {
    const { origin, 'content-type': type } = request.headers
    if ((origin !== undefined && origin !== url) || type !== 'application/json')
      return json(response, 403, { error: 'wrong origin' })
    const body = JSON.parse(await bodyOf(request)) as Record<string, unknown>
    const text = (key: string) => (typeof body[key] === 'string' ? body[key] : '')
    const user = workspace.user(text('user'))?.id
    const place = workspace.channels.get(text('channel'))
    if (!user || !place || (place.im !== null && place.im !== user))
      return json(response, 400, { error: 'who and where?' })
    if (what === 'command') await typed(user, place.id, text('text'))
    else if (what === 'click') {
      const message = workspace.message(place.id, text('ts'))
      if (message) await interactions.click(user, message, text('action_id'))
    } else if (what === 'submit') {
      const open = workspace.views.get(text('view'))
      if (open?.user === user) await interactions.submit(open, strings(body['values']))
    } else if (what === 'close') {
      const open = workspace.viewOf(user)
      if (open) workspace.views.delete(open.id)
    } else return json(response, 404, { error: 'there is nothing here' })
    json(response, 200, { ok: true })
  }

  async function typed(user: string, channel: string, line: string): Promise<Sent | null> {
    if (/^\/access(\s|$)/.test(line.trim())) return await interactions.command(user, channel, line)
    workspace.post(
      channel,
      line.startsWith('/')
        ? `${line.split(' ')[0]} is not a command here. Try /access.`
        : 'Only slash commands work here: this is a stand-in.',
      [],
      user,
    )
    return null
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, '127.0.0.1', resolve)
  })
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    url,
    apiUrl: `${url}/api/`,
    stop: async () => {
      workspace.save()
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
    messages: ({ channel, user } = {}) => {
      const place =
        channel === undefined
          ? undefined
          : [...workspace.channels.values()].find(
              c => c.id === channel || c.im === channel || (c.im === null && c.name === channel),
            )
      if (channel !== undefined && !place) return []
      return workspace.messages.filter(
        m => (!place || m.channel === place.id) && (m.ephemeral === null || m.ephemeral === user),
      )
    },
    view: user => workspace.viewOf(user),
    command: (user, text, channel) => interactions.command(user, channel ?? workspace.directWith(user).id, text),
    click: (user, message, action_id, change) => interactions.click(user, message, action_id, change),
    submitView: (user, values, change) => {
      const open = workspace.viewOf(user)
      if (!open) throw new Error(`${user} has no form open`)
      return interactions.submit(open, values, change)
    },
    send: (body, change) => interactions.send(body, change),
    sign: (timestamp, body) => interactions.sign(timestamp, body),
    setOutage: (mode, retryAfter_s = 1) => {
      outage = mode
      retryAfter = retryAfter_s
    },
    calls,
  }
}

function strings(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries((value ?? {}) as Record<string, unknown>).filter(
      (pair): pair is [string, string] => typeof pair[1] === 'string',
    ),
  )
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' })
  response.end(JSON.stringify(body))
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxBody) throw new Error('the body is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
