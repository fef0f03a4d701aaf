import { decodeRowDescription, type Field } from './messages.ts'
import type { Judgement, MaskPlan, RowMask, Statement } from './sql/contract.ts'

/** What a RowDescription says. */
export interface Described {
  readonly fields: readonly Field[]
  readonly columns: readonly string[]
  /** Of the fields; empty where all are text. */
  readonly formats: readonly number[]
  /** The mask that was made last. */
  fitted: { readonly plan: MaskPlan; readonly formats: readonly number[]; readonly mask: RowMask | null } | null
}

const mostBytes = 8 * 1024
const textOnly: readonly number[] = []

/** Descriptions of a connection by statement: the same bytes once more are not read once more. */
export class Descriptions {
  readonly #known = new WeakMap<Statement, { readonly bytes: Buffer; readonly described: Described }>()

  /** @throws BodyError for one that is not whole. */
  read(statement: Statement | null, buffer: Buffer, start: number, end: number): Described {
    const known = statement === null ? undefined : this.#known.get(statement)
    if (known !== undefined && known.bytes.compare(buffer, start, end) === 0) return known.described
    const fields = decodeRowDescription(buffer, start, end)
    // FETCH from a binary cursor answers in binary, also in the simple protocol.
    const formats = fields.every(f => f.format === 0) ? textOnly : fields.map(f => f.format)
    const described: Described = { fields, columns: fields.map(f => f.name), formats, fitted: null }
    if (statement !== null && end - start <= mostBytes)
      this.#known.set(statement, { bytes: Buffer.from(buffer.subarray(start, end)), described })
    return described
  }
}

/** The plan's mask for rows of this description. The judgement is the one of its statement under this plan. */
export function maskFor(
  described: Described,
  plan: MaskPlan,
  judgement: Judgement & { readonly ok: true },
  formats: readonly number[],
): RowMask | null {
  if (plan.empty) return null
  const { fitted } = described
  if (fitted !== null && fitted.plan === plan && same(fitted.formats, formats)) return fitted.mask
  const mask = plan.rows(judgement, described.fields, formats)
  described.fitted = { plan, formats, mask }
  return mask
}

function same(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
