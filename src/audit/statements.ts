import type { CheckpointCopy, CopyLine } from './copy.ts'
import { chainOf, type Handover, lastKey, openHandover } from './handover.ts'
import { type KeyChain, parseVkey, vkeyText } from './note.ts'
import type { Sql } from './store.ts'

export interface Statement extends CopyLine {
  readonly number: number
}

const maxStatements = 10_000

/** Breaks and handovers, in their order. There are few: each is an act of the operator. */
export async function statements(sql: Sql): Promise<Statement[]> {
  const rows = await sql<{ number: string; kind: 'break' | 'handover'; note: string }[]>`
    select number::text, kind, note from audit_statements s order by s.number limit ${maxStatements}`
  return rows.map(row => ({ ...row, number: Number(row.number) }))
}

/** Writes down what was signed; `copied` says that it stands in the copy already. One that is there is not doubled. */
export async function keepStatement(sql: Sql, { kind, note }: CopyLine, copied: boolean): Promise<void> {
  await sql`insert into audit_statements (kind, note, copied) select ${kind}, ${note}, ${copied}
    where not exists (select from audit_statements s where s.note = ${note})`
}

export const handoversOf = (lines: readonly CopyLine[]): Handover[] =>
  lines.flatMap(({ kind, note }) => (kind === 'handover' ? (openHandover(note) ?? []) : []))

/** The keys of this log, as far as `known` leads, with the notes that hand one over to the next. */
export async function keysOf(sql: Sql, known: string): Promise<{ chain: KeyChain; current: string; notes: string[] }> {
  const notes = (await statements(sql)).filter(s => s.kind === 'handover').map(s => s.note)
  const chain = chainOf(
    notes.flatMap(note => openHandover(note) ?? []),
    parseVkey(known),
  )
  return { chain, current: vkeyText(lastKey(chain)), notes }
}

/** Appends the statements that the copy lacks. */
export async function copyStatements(sql: Sql, copy: CheckpointCopy): Promise<void> {
  const rows = await sql<{ number: string; kind: 'break' | 'handover'; note: string }[]>`
    select number::text, kind, note from audit_statements s where not s.copied order by s.number`
  if (rows.length === 0) return
  await copy.append(rows.map(({ kind, note }) => ({ kind, note })))
  await sql`update audit_statements set copied = true where number = any(${rows.map(row => Number(row.number))}::bigint[])`
}
