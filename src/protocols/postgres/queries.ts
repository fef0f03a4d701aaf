import { SallyportError } from '../../errors.ts'
import type { Upstream } from './dial.ts'
import { C, decodeError, decodeRowDescription, type Field, frame, S } from './messages.ts'

export type Row = Readonly<Record<string, string | null>>

/** Runs statements of our own in the simple protocol, text format. @throws SallyportError with the target's words. */
export async function runQuery(upstream: Upstream, sql: string, name: string): Promise<Row[]> {
  upstream.socket.write(frame(C.query, sql, 0))
  let fields: readonly Field[] = []
  const rows: Row[] = []
  let failure: SallyportError | undefined
  for (;;) {
    const { type, body, raw } = await upstream.messages.next()
    if (type === S.rowDescription) fields = decodeRowDescription(raw, 0, raw.length)
    else if (type === S.dataRow) {
      const row: Record<string, string | null> = {}
      const count = body.int16()
      for (let i = 0; i < count; i++) {
        const length = body.int32()
        row[fields[i]?.name ?? String(i)] = length === -1 ? null : body.bytes(length).toString('utf8')
      }
      rows.push(row)
    } else if (type === S.error) {
      const told = decodeError(raw, 0, raw.length)
      const sqlstate = told.get('C') ?? 'XX000'
      failure = new SallyportError(
        'target_unavailable',
        `${name} refused a statement of the gateway: ${told.get('M')} (${sqlstate})`,
        {
          facts: { sqlstate },
        },
      )
    } else if (type === S.readyForQuery) {
      if (failure !== undefined) throw failure
      return rows
    }
  }
}

/** Says goodbye and closes. */
export function closeUpstream(upstream: Upstream): void {
  upstream.messages.detach()
  upstream.socket.on('error', () => {})
  upstream.socket.end(frame(C.terminate))
  setTimeout(() => upstream.socket.destroy(), 1000).unref()
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A literal that means the same whatever standard_conforming_strings says. */
export function quoteText(text: string): string {
  return text.includes('\\')
    ? `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
    : `'${text.replaceAll("'", "''")}'`
}
