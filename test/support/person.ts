import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Browser } from '../identity/browser.ts'
import { Command, type Outcome, runCommand } from './commands.ts'
import { Psql, runPsql, type Ticket } from './psql.ts'

export interface Answer {
  readonly status: number
  // The journeys read answers as people's programs do: by the member they want.
  readonly body: Record<string, unknown>
}

export interface AskOptions {
  readonly role?: string
  readonly resource?: string
  readonly duration_s?: number
  readonly reason?: string
}

/** One person of the development world, with a browser, a command line and a `psql` of their own. */
export class Person {
  readonly sub: string
  /** Their account in the Slack stand-in. */
  readonly slackId: string
  readonly #origin: string
  readonly #program: string
  readonly home: string
  #browser: Promise<Browser> | undefined
  #loggedIn: Promise<Outcome> | undefined

  constructor(sub: string, options: { readonly origin: string; readonly program: string; readonly folder: string }) {
    this.sub = sub
    this.slackId = `U0${sub.toUpperCase()}`
    this.#origin = options.origin
    this.#program = options.program
    this.home = join(options.folder, sub)
    mkdirSync(this.home, { recursive: true })
  }

  get env(): NodeJS.ProcessEnv {
    const { PATH, OPA_BIN, XDG_CACHE_HOME, HOME } = process.env
    const cache = XDG_CACHE_HOME ?? join(HOME ?? '/root', '.cache')
    return { PATH, OPA_BIN, LC_ALL: 'C.UTF-8', HOME: this.home, XDG_CONFIG_HOME: this.home, XDG_CACHE_HOME: cache }
  }

  /** A browser that went through the whole OpenID Connect flow. */
  browser(): Promise<Browser> {
    this.#browser ??= (async () => {
      const browser = new Browser()
      const landed = `${this.#origin}/api/me`
      await browser.signIn(`${this.#origin}/auth/login?return_to=/api/me`, this.sub, url => url === landed)
      return browser
    })()
    return this.#browser
  }

  async #call(method: string, path: string, body?: unknown): Promise<Answer> {
    const browser = await this.browser()
    const response = await browser.send(this.#origin + path, {
      method,
      headers: { origin: this.#origin, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown> }
  }

  readonly get = (path: string): Promise<Answer> => this.#call('GET', path)
  readonly post = (path: string, body: unknown = {}): Promise<Answer> => this.#call('POST', path, body)
  readonly delete = (path: string): Promise<Answer> => this.#call('DELETE', path)

  /** `sallyport login`: the link it prints is opened, the words compared, the button pressed. */
  login(): Promise<Outcome> {
    this.#loggedIn ??= this.#login()
    return this.#loggedIn
  }

  async #login(): Promise<Outcome> {
    const command = this.start('login', '--origin', this.#origin)
    const [, url = ''] = await command.says(/^\s+(http\S+\/auth\/cli\S+)$/m)
    const [, words = ''] = await command.says(/must show (.+)$/m)
    const browser = new Browser()
    const page = await browser.signIn(url, this.sub, () => false)
    const html = await page.response!.text()
    if (!html.includes(words.trim())) throw new Error(`the page does not show '${words}':\n${html}`)
    const pressed = await browser.send(page.url, {
      method: 'POST',
      headers: { origin: this.#origin, 'content-type': 'application/x-www-form-urlencoded' },
      body: '',
    })
    await fetch(pressed.headers.get('location') ?? '')
    return command.ended
  }

  /** Starts the built command, as this person. */
  start(...args: string[]): Command {
    return new Command([process.execPath, this.#program, ...args], { env: this.env, cwd: this.home })
  }

  /** Runs the built command to its end; signs in first. */
  async cli(...args: string[]): Promise<Outcome> {
    await this.login()
    return runCommand([process.execPath, this.#program, ...args], { env: this.env, cwd: this.home })
  }

  /** Asks for access. @returns the request. */
  async ask({ role = 'reader', resource = 'shop-db', duration_s = 3600, reason = 'a journey' }: AskOptions = {}) {
    const answer = await this.post('/api/requests', { resource, role, duration_s, reason })
    if (answer.status !== 201) throw new Error(`asking answered ${answer.status}: ${JSON.stringify(answer.body)}`)
    return answer.body as unknown as RequestBody
  }

  /** Votes on a request as it is now. */
  async vote(request: RequestBody, answer: 'approve' | 'deny' = 'approve'): Promise<Answer> {
    return this.post(`/api/requests/${request.id}/votes`, { answer, hash: request.hash })
  }

  async ticket(options: { role?: string; resource?: string } = {}): Promise<Ticket> {
    const answer = await this.post('/api/tickets', { resource: 'shop-db', role: 'reader', ...options })
    if (answer.status !== 201) throw new Error(`no ticket, ${answer.status}: ${JSON.stringify(answer.body)}`)
    const { id, secret, host, port, ca } = answer.body as Record<'id' | 'secret' | 'host' | 'ca', string> & {
      port: number
    }
    const ca_file = join(this.home, 'gateway-ca.pem')
    writeFileSync(ca_file, ca)
    return { id, secret, host, port, database: 'shop', ca_file }
  }

  psql(
    ticket: Ticket,
    statements: string,
    args: readonly string[] = [],
    env: NodeJS.ProcessEnv = {},
  ): Promise<Outcome> {
    return runPsql(ticket, this.home, statements, { args, env })
  }

  openPsql(ticket: Ticket): Psql {
    return new Psql(ticket, this.home)
  }
}

export interface RequestBody {
  readonly id: string
  readonly hash: string
  readonly state: string
  readonly grant: { readonly id: string; readonly ends_at_ms: number } | null
}
