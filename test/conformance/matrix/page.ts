import { behaviours, type Cell, underStarterPolicies } from './behaviours.ts'
import type { ToolRun } from './tools.ts'

export interface DriverRow {
  readonly name: string
  readonly version: string
  readonly open: ReadonlyMap<string, Cell>
  readonly starter: ReadonlyMap<string, Cell>
}

export interface Facts {
  readonly date: string
  readonly machine: string
  readonly target: string
  readonly psql: string
  readonly rows: readonly DriverRow[]
  readonly tools: readonly ToolRun[]
}

const words: Record<Cell['verdict'], string> = {
  pass: 'pass',
  refused: 'refused',
  fail: '**fail**',
  'not offered': '–',
  'not installed': 'not installed',
}

/** The generated page. */
export function page({ date, machine, target, psql, rows, tools }: Facts): string {
  const remarks: string[] = []
  const shown = (what: string, cell: Cell | undefined) => {
    if (cell === undefined) return 'not run'
    if (cell.verdict === 'pass' || cell.note === undefined) return words[cell.verdict]
    remarks.push(`${what}: ${inCell(cell.note)}`)
    return `${words[cell.verdict]} [${remarks.length}]`
  }
  const table = (titles: Readonly<Record<string, string>>, side: 'open' | 'starter') => [
    `| | ${rows.map(row => row.name).join(' | ')} |`,
    `|---|${rows.map(() => '---|').join('')}`,
    ...Object.entries(titles).map(
      ([key, title]) =>
        `| ${title} | ${rows.map(row => shown(`${row.name}, ${title}`, row[side].get(key))).join(' | ')} |`,
    ),
  ]
  const lines = [
    '# Conformance',
    '',
    `*Written by \`npm run conformance\` on ${date}; do not edit.* Machine: ${machine}. Target: PostgreSQL ${target}.`,
    '',
    'Each program runs twice: at the target itself, and through the gateway, with `verify-full` both times. *Pass* means that both runs saw the',
    'same values, types, names, errors and notices; *refused*, that the gateway said no and the remark says why. – : the driver does not offer it. Numbers in brackets stand below.',
    '',
    '| driver | version |',
    '|---|---|',
    ...rows.map(row => `| ${row.name} | ${row.version} |`),
    `| psql, pg_dump, pgbench | ${psql} |`,
    '',
    '## Everything allowed, nothing masked',
    '',
    ...table(behaviours, 'open'),
    '',
    '## The starter policies, role `reader`',
    '',
    'Denied are `DELETE`, an expression over a masked column and `DROP TABLE`, each with SQLSTATE 42501; the statement after them works. Masked values are',
    'computed anew from what the target shows, and must come in every format that the driver can ask for.',
    '',
    ...table(underStarterPolicies, 'starter'),
    '',
    "## PostgreSQL's own programs",
    '',
    '| program | |',
    '|---|---|',
    ...tools.map(({ name, cell }) => `| ${name} | ${shown(name, cell)} |`),
    ...(tools.some(tool => tool.name.startsWith('libpq_pipeline'))
      ? [
          '',
          '`libpq_pipeline` compares the traces of libpq, message by message. It is no part of this repository: give the built program with `--libpq-pipeline PROGRAM`.',
        ]
      : ['', '`libpq_pipeline` did not run: give the built program with `--libpq-pipeline PROGRAM`.']),
    '',
    '## Remarks',
    '',
    ...(remarks.length === 0 ? ['None.'] : remarks.map((remark, i) => `${i + 1}. ${remark}`)),
    '',
    '## What differs from a direct connection, by design',
    '',
    '- The user name at the gateway is the ticket; `session_authorization` and `current_user` show the role made for the session.',
    '- `standard_conforming_strings` and `client_encoding` are fixed (`on`, `UTF8`), protocol 3.2 is negotiated down to 3.0, channel binding is not offered.',
    '- Each gateway worker has a role of its own for a session. What one connection creates, another one of the same session may not be able to drop or alter.',
    '- `RESET ALL` and `DISCARD ALL` are refused (42501), and with them the reset that asyncpg sends when a connection goes back to its pool: give the pool a `reset` of',
    '  your own. A call of `set_config` that changes `search_path` ends the connection: `pg_dump` begins with one, so dumps are made at the target itself.',
    '  (Where `pg_dump` is older than the target it refuses directly as well; then nothing was compared.)',
    '- Under the starter policies `set_config` is refused, and with it what asyncpg asks of the catalog for types it does not know.',
    '- Errors that the gateway answers itself name no file, line and routine of the server.',
    '- Function calls by message, replication, and startup parameters outside of the allow-list are refused.',
    '- A cursor made by `DECLARE` cannot be described or executed by message (34000): server-side cursors of psycopg do that. `FETCH` works.',
    '- Where a column is masked, a statement that uses it otherwise than as a plain output column is refused (42501).',
    '',
  ]
  return lines.join('\n')
}

function inCell(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').replaceAll('<', '\\<').slice(0, 500)
}
