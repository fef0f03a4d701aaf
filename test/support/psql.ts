import { Command, type Outcome, runCommand } from './commands.ts'

/** What a client presents, with the place where it goes. */
export interface Ticket {
  readonly id: string
  readonly secret: string
  readonly host: string
  readonly port: number
  readonly database: string
  readonly ca_file: string
}

/** The environment with which `psql` finds the gateway; nothing of the outer user's settings gets in. */
export function psqlEnv(ticket: Ticket, home: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: home,
    LC_ALL: 'C.UTF-8',
    PGHOST: ticket.host,
    PGPORT: String(ticket.port),
    PGUSER: ticket.id,
    PGPASSWORD: ticket.secret,
    PGDATABASE: ticket.database,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: ticket.ca_file,
    PGGSSENCMODE: 'disable',
    PGCONNECT_TIMEOUT: '15',
  }
}

const flags = ['-X', '-q', '-A', '-t', '-F', '|', '-P', 'null=<null>']

/** The real client, once: statements come from its standard input, one answer a line. */
export function runPsql(
  ticket: Ticket,
  home: string,
  statements: string,
  options: { readonly args?: readonly string[]; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  return runCommand(['psql', ...flags, ...(options.args ?? [])], {
    env: { ...psqlEnv(ticket, home), ...options.env },
    input: statements,
  })
}

/** The real client, kept open: a conversation with one connection. */
export class Psql {
  readonly command: Command
  #turn = 0

  constructor(ticket: Ticket, home: string) {
    this.command = new Command(['psql', ...flags], { env: psqlEnv(ticket, home) })
  }

  /** Sends statements and waits until psql is ready for more. @returns what was new on the two streams. */
  async ask(statements: string, within_ms = 30_000): Promise<{ out: string; err: string }> {
    const mark = `=== turn ${++this.#turn} ===`
    const [out, err] = [this.command.stdout.length, this.command.stderr.length]
    this.command.write(`${statements}\n\\echo '${mark}'\n\\warn '${mark}'\n`)
    const pattern = new RegExp(`^${mark}$`, 'm')
    const both = () => pattern.test(this.command.stdout) && pattern.test(this.command.stderr)
    const deadline = performance.now() + within_ms
    while (!both() && performance.now() < deadline && this.command.child.exitCode === null)
      await new Promise(resolve => setTimeout(resolve, 10))
    if (!both()) await Promise.race([this.command.ended, new Promise(resolve => setTimeout(resolve, 500))])
    const since = (text: string, from: number) => text.slice(from).replace(`${mark}\n`, '').trim()
    return { out: since(this.command.stdout, out), err: since(this.command.stderr, err) }
  }

  /** Sends statements without waiting for their answer. */
  send(statements: string): void {
    this.command.write(`${statements}\n`)
  }

  async close(): Promise<Outcome> {
    this.command.child.stdin.end('\\q\n')
    return this.command.ended
  }
}
