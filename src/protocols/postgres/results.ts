import type { Gate } from '../../gateway/protocol.ts'
import { BodyError, type Field } from './messages.ts'
import type { RowMask } from './sql/contract.ts'

const maxValue = 4096
const batchBytes = 64 * 1024

/**
 * What one statement answered, for the journal: columns, the rows that the settings ask for (already masked), counts and
 * the command's tag. Long results leave in batches, so that memory stays flat.
 */
export class ResultRecord {
  readonly #gate: Gate
  readonly #keep: number
  readonly #formats: readonly number[]
  #fields: readonly Field[] | null = null
  #rows: (string | null)[][] = []
  #held = 0
  #kept = 0
  mask: RowMask | null = null
  count = 0
  bytes = 0

  /** @param formats as Bind gave them; they count where no description was asked for. */
  constructor(gate: Gate, formats: readonly number[]) {
    this.#gate = gate
    this.#formats = formats
    const { results, head_rows, level } = gate.settings
    this.#keep = level !== 'full' || results === 'none' ? 0 : results === 'all' ? Number.MAX_SAFE_INTEGER : head_rows
  }

  /** Whether rows have to be looked at one by one. */
  get collecting(): boolean {
    return this.#kept < this.#keep
  }

  get fields(): readonly Field[] | null {
    return this.#fields
  }

  describe(fields: readonly Field[], mask: RowMask | null): void {
    this.#fields = fields
    this.mask = mask
  }

  /** A DataRow as the client gets it: `body` begins at its Int16 count. */
  collect(buffer: Buffer, body: number, end: number): void {
    const row = readRow(buffer, body, end, i => this.#isBinary(i))
    this.#rows.push(row)
    this.#held += Math.min(end - body, row.length * maxValue)
    if (++this.#kept < this.#keep && this.#held > batchBytes) this.#flush()
  }

  finish(tag: string): void {
    this.#gate.record('result', {
      tag,
      rows: this.count,
      bytes: this.bytes,
      ...(this.#fields === null ? {} : { columns: this.#fields.map(f => f.name) }),
      ...(this.#rows.length === 0 ? {} : { values: this.#rows }),
      ...(this.mask === null ? {} : { masked: this.mask.masked }),
    })
    this.#rows = []
  }

  #isBinary(column: number): boolean {
    const format = this.#fields?.[column]?.format ?? this.#formats[this.#formats.length === 1 ? 0 : column]
    return format === 1
  }

  #flush(): void {
    this.#gate.record('rows', {
      ...(this.#fields === null ? {} : { columns: this.#fields.map(f => f.name) }),
      values: this.#rows,
    })
    this.#rows = []
    this.#held = 0
  }
}

/** Values as text; what came in binary is shown in hexadecimal, as PostgreSQL shows bytes. */
function readRow(buffer: Buffer, body: number, end: number, isBinary: (column: number) => boolean): (string | null)[] {
  if (end - body < 2) throw new BodyError('a row without a count')
  const count = buffer.readInt16BE(body)
  const row: (string | null)[] = []
  let at = body + 2
  for (let i = 0; i < count; i++) {
    if (end - at < 4) throw new BodyError('a row ends too early')
    const length = buffer.readInt32BE(at)
    at += 4
    if (length === -1) {
      row.push(null)
      continue
    }
    if (length < 0 || length > end - at) throw new BodyError('a value is longer than its row')
    const cut = Math.min(length, maxValue)
    const more = length > cut ? `… (${length} bytes)` : ''
    const text = isBinary(i) ? '\\x' + buffer.toString('hex', at, at + cut) : buffer.toString('utf8', at, at + cut)
    row.push(text + more)
    at += length
  }
  return row
}
