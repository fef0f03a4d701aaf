import type { Field, FitPlan, Judgement, MaskPlan, Statement } from './contract.ts'
import { anyMasked, type Fitted, whyStatementRefused } from './judge.ts'
import { maskValue, rowMask, type ValueMask } from './output.ts'
import { columnKey, followTables, hideTelling, type Masked, matchRules } from './rules.ts'
import { followViews } from './views.ts'

let versions = 0

/**
 * Fits masking rules to a catalog. What cannot be carried out is refused, and with it the session: rules before the
 * catalog is known, `on_derived: mask`, `predicates: allow`, and a rule that names one column which is not there.
 */
export const fitPlan: FitPlan = (rules, catalog, hashKey) => {
  if (rules.length === 0) return { ok: true, plan: emptyPlan() }
  const unsupported = rules.find(r => r.on_derived === 'mask' || r.predicates === 'allow')
  if (unsupported !== undefined)
    return refuse(
      `rule ${unsupported.rule} asks for on_derived: mask or predicates: allow, which this build cannot carry out`,
    )
  if (hashKey.length < 16 && rules.some(r => r.transform.kind === 'hash'))
    return refuse('a rule hashes, but the deployment has no mask key')
  if (catalog === undefined) return refuse('the catalog of the target could not be read')
  const { masked, unmatched } = matchRules(rules, catalog)
  if (unmatched.length > 0)
    return refuse(
      `the masking rule ${unmatched[0]} names a column that the target does not have: correct the rule, or use a pattern where it may be absent`,
    )
  if (masked.size === 0) return { ok: true, plan: emptyPlan() }
  followTables(masked, catalog)
  hideTelling(masked, catalog)
  const fitted: Fitted = { masked, catalog, closed: followViews(masked, catalog) }
  return { ok: true, plan: planOf(fitted, hashKey) }
}

const refuse = (reason: string) => ({ ok: false as const, reason })

function emptyPlan(): MaskPlan {
  return {
    empty: true,
    version: ++versions,
    judge: statement => ({ ok: true, describe: false, touches: false, outputs: statement.columns.outputs }),
    rows: () => null,
  }
}

function planOf(fitted: Fitted, hashKey: Uint8Array): MaskPlan {
  const judgements = new WeakMap<Statement, Judgement>()
  return {
    empty: false,
    version: ++versions,
    judge(statement) {
      let judgement = judgements.get(statement)
      if (judgement === undefined) judgements.set(statement, (judgement = judge(statement, fitted)))
      return judgement
    },
    rows: (judgement, fields, formats) => rows(judgement, fields, formats, fitted, hashKey),
  }
}

function judge(statement: Statement, fitted: Fitted): Judgement {
  const reason = whyStatementRefused(statement, fitted)
  if (reason !== null) return { ok: false, reason }
  const touches = statement.columns.relations.some(oid => anyMasked(oid, fitted))
  const { outputs } = statement.columns
  // also where the tree knows of nothing masked: the server's own word on its rows is the second lock
  return { ok: true, touches, describe: outputs === null || outputs.length > 0, outputs }
}

/**
 * Two locks on each column: what the server says it is, and what the tree says it is. A column that either calls masked
 * is masked. Where the two disagree on how many there are, all that the server does not vouch for becomes NULL.
 */
function rows(
  judgement: Judgement & { readonly ok: true },
  fields: readonly Field[],
  formats: readonly number[],
  fitted: Fitted,
  hashKey: Uint8Array,
): ReturnType<MaskPlan['rows']> {
  const { masked } = fitted
  const outputs = judgement.outputs !== null && judgement.outputs.length === fields.length ? judgement.outputs : null
  const doubtful = judgement.touches && judgement.outputs !== null && outputs === null
  const kinds: string[] = []
  let any = false
  const masks = fields.map((field, i): ValueMask | undefined => {
    const transform = transformOf(field, outputs?.[i] ?? null, masked, fitted, doubtful)
    kinds.push(transform?.kind ?? '')
    if (transform === undefined) return undefined
    any = true
    const format = formats.length === 0 ? 0 : formats.length === 1 ? formats[0]! : (formats[i] ?? 2)
    return maskValue(transform, hashKey, field.typeOid, format)
  })
  return any ? rowMask(fields, masks, kinds) : null
}

type Transform = Masked extends Map<number, infer T> ? T : never

function transformOf(
  field: Field,
  origin: { oid: number; attnum: number } | null,
  masked: Masked,
  fitted: Fitted,
  doubtful: boolean,
): Transform | undefined {
  if (field.tableOid !== 0) {
    if (field.attnum === 0 && anyMasked(field.tableOid, fitted)) return { kind: 'null' }
    const byServer = masked.get(columnKey(field.tableOid, field.attnum))
    if (byServer !== undefined) return byServer
  }
  if (origin !== null) {
    const byTree = masked.get(columnKey(origin.oid, origin.attnum))
    if (byTree !== undefined) return byTree
  }
  return doubtful && field.tableOid === 0 ? { kind: 'null' } : undefined
}
