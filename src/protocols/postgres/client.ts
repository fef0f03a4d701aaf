import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import pg from 'pg'
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
    fallback: (input, output) => prompt(ticket, database, input, output),
  }
}

/** Statements that end in `;`, one after the other; `\q` or the end of input ends it. */
async function prompt(
  ticket: IssuedTicket,
  database: string,
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
): Promise<number> {
  const connection = new pg.Client({
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
  const lines = createInterface({
    input,
    output,
    prompt: `${ticket.resource.name}=> `,
    terminal: 'isTTY' in output && output.isTTY === true,
  })
  let statement = ''
  let failed = false
  lines.prompt()
  for await (const line of lines) {
    if (statement === '' && /^\s*(\\q|quit|exit)\s*;?\s*$/.test(line)) break
    statement += `${line}\n`
    if (/;\s*$/.test(line)) {
      failed = !(await run(connection, statement, output))
      statement = ''
    }
    lines.prompt()
  }
  if (statement.trim() !== '') failed = !(await run(connection, statement, output))
  lines.close()
  await connection.end().catch(() => {})
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
