import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type pg from 'pg'
import type { ClientCommand, IssuedTicket } from '../../gateway/protocol.ts'
import type { Options } from './options.ts'

/** psql with the ticket in its environment; lines for every other client; a small prompt where psql is absent. */
export function client(ticket: IssuedTicket, args: readonly string[]): ClientCommand {
  const { database } = ticket.resource.options as Options
  const query = new URLSearchParams({ sslmode: 'verify-full', sslrootcert: ticket.ca_file })
  const place = `${ticket.host.includes(':') ? `[${ticket.host}]` : ticket.host}:${ticket.port}/${encodeURIComponent(database)}`
  const password = ticket.secret.reveal()
  return {
    argv: ['psql', ...args],
    env: {
      PGHOST: ticket.host,
      PGPORT: String(ticket.port),
      PGUSER: ticket.id,
      PGPASSWORD: password,
      PGDATABASE: database,
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: ticket.ca_file,
      PGCHANNELBINDING: 'disable',
      PGGSSENCMODE: 'disable',
      PGOPTIONS: undefined,
      PGSERVICE: undefined,
      PGHOSTADDR: undefined,
    },
    print: [
      { label: 'host', value: ticket.host },
      { label: 'port', value: String(ticket.port) },
      { label: 'user', value: ticket.id },
      { label: 'password', value: password },
      { label: 'database', value: database },
      { label: 'ca', value: ticket.ca_file },
      { label: 'url', value: `postgresql://${ticket.id}:${password}@${place}?${query}` },
    ],
    fallback: (input, output) => withoutPsql(ticket, database, args, input, output),
  }
}

type Input = NodeJS.ReadableStream & { readonly isTTY?: boolean }

/** What stands in for psql: its `-c`, or a prompt. Any other argument is refused, because ignoring it would surprise. */
async function withoutPsql(
  ticket: IssuedTicket,
  database: string,
  args: readonly string[],
  input: Input,
  output: NodeJS.WritableStream,
): Promise<number> {
  const commands = commandsOf(args)
  if (commands === null) {
    output.write(
      'psql is not installed, and the built-in prompt knows only -c SQL: install psql for its other options\n',
    )
    return 2
  }
  const { default: driver } = await import('pg') // only here: every other client would wait for it
  const connection = new driver.Client({
    host: ticket.host,
    port: ticket.port,
    user: ticket.id,
    password: ticket.secret.reveal(),
    database,
    ssl: { ca: readFileSync(ticket.ca_file, 'utf8'), rejectUnauthorized: true },
    application_name: 'sallyport',
    types: { getTypeParser: () => (text: string) => text },
  })
  connection.on('error', error => output.write(`${error.message}\n`))
  try {
    await connection.connect()
  } catch (error) {
    output.write(`${explain(error)}\n`)
    return 2
  }
  try {
    if (commands.length === 0) return await prompt(connection, ticket.resource.name, input, output)
    for (const command of commands) if (!(await run(connection, command, output))) return 1
    return 0
  } finally {
    await connection.end().catch(() => {})
  }
}

/** The statements of `-c SQL`, `-cSQL`, `--command SQL` and `--command=SQL`; null when there is anything else. */
function commandsOf(args: readonly string[]): string[] | null {
  const commands: string[] = []
  for (let i = 0; i < args.length; i++) {
    const joined = /^(?:-c|--command=)(.+)$/s.exec(args[i]!)?.[1]
    const command = joined ?? (/^(?:-c|--command)$/.test(args[i]!) ? args[++i] : undefined)
    if (command === undefined) return null
    commands.push(command)
  }
  return commands
}

/** Statements that end in `;`, one after the other; `\q` or the end of input ends it. */
async function prompt(
  connection: pg.Client,
  name: string,
  input: Input,
  output: NodeJS.WritableStream,
): Promise<number> {
  const person = input.isTTY === true
  if (person) output.write('psql is not installed; this small prompt takes SQL that ends in ; and \\q to leave.\n')
  const lines = createInterface({
    input,
    output,
    prompt: person ? `${name}=> ` : '',
    terminal: person && 'isTTY' in output && output.isTTY === true,
  })
  let statement = ''
  let failed = false
  lines.prompt()
  for await (const line of lines) {
    if (statement === '' && /^\s*(\\q|quit|exit)\s*;?\s*$/.test(line)) break
    if (statement === '' && /^\s*\\/.test(line)) {
      output.write('commands with \\ are psql’s own: install psql for them; \\q leaves\n')
    } else {
      statement += `${line}\n`
      if (/;\s*$/.test(line)) {
        failed = !(await run(connection, statement, output))
        statement = ''
      }
    }
    lines.prompt()
  }
  if (statement.trim() !== '') failed = !(await run(connection, statement, output))
  lines.close()
  return failed ? 1 : 0
}

async function run(connection: pg.Client, statement: string, output: NodeJS.WritableStream): Promise<boolean> {
  try {
    const answer = (await connection.query({ text: statement, rowMode: 'array' })) as unknown
    for (const result of (Array.isArray(answer) ? answer : [answer]) as pg.QueryArrayResult<(string | null)[]>[]) {
      output.write(
        result.fields.length > 0
          ? table(result)
          : `${result.command}${result.rowCount === null ? '' : ` ${result.rowCount}`}\n`,
      )
    }
    return true
  } catch (error) {
    output.write(`${explain(error)}\n`)
    return false
  }
}

function table(result: pg.QueryArrayResult<(string | null)[]>): string {
  const head = result.fields.map(field => field.name)
  const rows = result.rows.map(row => row.map(value => value ?? ''))
  const widths = head.map((name, i) => rows.reduce((width, row) => Math.max(width, row[i]!.length), name.length))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join(' | ')
      .trimEnd()
  const rule = widths.map(width => '-'.repeat(width)).join('-+-')
  return `${[line(head), rule, ...rows.map(line)].join('\n')}\n(${rows.length} ${rows.length === 1 ? 'row' : 'rows'})\n`
}

function explain(error: unknown): string {
  const { message, detail, hint } = error as { message: string; detail?: string; hint?: string }
  return [`ERROR:  ${message}`, detail && `DETAIL:  ${detail}`, hint && `HINT:  ${hint}`].filter(Boolean).join('\n')
}
