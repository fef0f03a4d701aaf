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
    '- The user name at the gateway is the ticket; `session_user` is the role made for the session, `current_user` the granted one that it acts as.',
    '- `standard_conforming_strings` and `client_encoding` are fixed (`on`, `UTF8`), protocol 3.2 is negotiated down to 3.0, channel binding is not offered.',
    '- `search_path` may be emptied and restored, as `pg_dump` does, and nothing else; where columns are masked it stays, so `pg_dump` is refused there. A `pg_dump` that is older than the',
    '  target refuses directly as well: then nothing was compared here, and `test/bypass/postgres-settings.test.ts` compares it with a server of its age.',
    '- `set_config` counts as SET where the name of the setting is written out; with any other name it is dynamic SQL, which the starter policies refuse.',
    '- Errors that the gateway answers itself name no file, line and routine of the server.',
    '- Function calls by message, replication, and startup parameters outside of the allow-list are refused.',
    '- A portal that a message opened cannot be the subject of `FETCH` (42501).',
    '- Where a column is masked, a statement that uses it otherwise than as a plain output column is refused (42501).',
    '',
  ]
  return lines.join('\n')
}

function inCell(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').replaceAll('<', '\\<').slice(0, 500)
}
