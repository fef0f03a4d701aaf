import type { Gate } from '../../gateway/protocol.ts'
import type { Described } from './descriptions.ts'
import { batchBytes, PackedRows } from './packed-rows.ts'
import type { RowMask } from './sql/contract.ts'

/**
 * What one statement answered, for the journal: columns, the rows that the settings ask for (already masked), counts and
 * the command's tag. Long results leave in batches, so that memory stays flat.
 */
export class ResultRecord {
  readonly #gate: Gate
  readonly #keep: number
  readonly #formats: readonly number[]
  #described: Described | null = null
  #binary: boolean
  #rows: PackedRows | null = null
  #kept = 0
  mask: RowMask | null = null
  count = 0
  bytes = 0

  /** @param formats as Bind gave them; they count where no description was asked for. */
  constructor(gate: Gate, formats: readonly number[]) {
    this.#gate = gate
    this.#formats = formats
    this.#binary = formats.includes(1)
    const { results, head_rows, level } = gate.settings
    this.#keep = level !== 'full' || results === 'none' ? 0 : results === 'all' ? Number.MAX_SAFE_INTEGER : head_rows
  }

  /** Whether rows have to be looked at one by one. */
  get collecting(): boolean {
    return this.#kept < this.#keep
  }

  get described(): Described | null {
    return this.#described
  }

  describe(described: Described, mask: RowMask | null): void {
    this.#described = described
    this.#binary ||= described.fields.some(field => field.format === 1)
    this.mask = mask
  }

  /** A DataRow as the client gets it: `body` begins at its Int16 count. */
  collect(buffer: Buffer, body: number, end: number): void {
    this.#rows ??= new PackedRows(this.#kept > 0)
    this.#rows.add(buffer, body, end, this.#binary ? this.#isBinary : null)
    if (++this.#kept < this.#keep && this.#rows.bytes > batchBytes) this.#flush()
  }

  finish(tag: string): void {
    const body: Record<string, unknown> = { tag, rows: this.count, bytes: this.bytes }
    if (this.#described !== null) body['columns'] = this.#described.columns
    if (this.mask !== null) body['masked'] = this.mask.masked
    this.#record('result', body)
  }

  readonly #isBinary = (column: number): boolean => {
    const format = this.#described?.fields[column]?.format ?? this.#formats[this.#formats.length === 1 ? 0 : column]
    return format === 1
  }

  #flush(): void {
    this.#record('rows', this.#described === null ? {} : { columns: this.#described.columns })
  }

  #record(kind: string, body: Record<string, unknown>): void {
    const rows = this.#rows
    this.#rows = null
    if (rows === null) this.#gate.record(kind, body)
    else this.#gate.record(kind, body, { name: 'values', bytes: rows.taken(), release: () => rows.release() })
  }
}
