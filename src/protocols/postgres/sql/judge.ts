import type { CatalogSnapshot, ColumnUse, Statement, Use } from './contract.ts'
import { columnKey, type Masked } from './rules.ts'
import { plainDdl } from './utility.ts'

export interface Fitted {
  readonly masked: Masked
  /** Views that may not be read, and why. */
  readonly closed: ReadonlyMap<number, string>
  readonly catalog: CatalogSnapshot
}

const words: Record<Use, string> = {
  expression: 'is used in an expression',
  predicate: 'is used in a condition',
  order: 'is used to order rows',
  group: 'is used to group rows or to find distinct ones',
  join: 'is used to join',
  union: 'goes through UNION, INTERSECT or EXCEPT',
  whole_row: 'is part of a whole row used as a value',
  stored: 'would be stored elsewhere',
  copied: 'would leave by COPY',
  definition: 'would become part of another object',
}
const advice = 'select it as a plain column, or leave it out'

/** What a use of columns cannot do on a database with masked ones. null: nothing speaks against it. */
export function whyRefused(use: ColumnUse, fitted: Fitted): string | null {
  const call = use.calls[0]
  if (call !== undefined) return `${call} is not among those that may run where columns are masked: leave it out`
  for (const { oid, attnum, how } of use.uses) {
    if (attnum !== 0 ? !fitted.masked.has(columnKey(oid, attnum)) : !anyMasked(oid, fitted)) continue
    const relation = fitted.catalog.relations.get(oid)
    const column = relation?.columns.find(c => c.attnum === attnum)?.name
    const name =
      relation === undefined
        ? 'a masked column'
        : column === undefined
          ? `a masked column of ${relation.name}`
          : `the masked column ${relation.name}.${column}`
    return `${name} ${words[how]}: ${advice}`
  }
  for (const oid of use.relations) {
    const why = fitted.closed.get(oid)
    if (why !== undefined)
      return `the view ${fitted.catalog.relations.get(oid)?.name ?? oid} cannot be read here, because ${why}`
  }
  const open = use.open[0]
  return open === undefined ? null : `where columns are masked, every name has to be known: ${open}`
}

export function anyMasked(oid: number, fitted: Fitted): boolean {
  return fitted.catalog.relations.get(oid)?.columns.some(c => fitted.masked.has(columnKey(oid, c.attnum))) === true
}

const queries: ReadonlySet<string> = new Set(
  `select insert update delete merge declare fetch move close deallocate copy_to copy_from set reset show discard
   begin commit rollback savepoint release rollback_to grant revoke create_role alter_role drop_role`.split(/\s+/),
)
const wrapped: Readonly<Record<string, string>> = { execute: 'executes', prepare: 'prepared', explain: 'explained' }
/** DDL whose use of columns says all; other DDL may not even name a masked relation. */
const byColumns: ReadonlySet<string> = new Set(
  'create_table_as select_into create_view create_materialized_view truncate lock vacuum analyze cluster reindex refresh_materialized_view'.split(
    ' ',
  ),
)

/** The whole judgement of a statement, apart from policy. */
export function whyStatementRefused(statement: Statement, fitted: Fitted): string | null {
  const { action, columns } = statement
  let kind = action.kind
  for (let facts = action.facts; wrapped[kind] !== undefined; ) {
    const next = facts[wrapped[kind]!]
    if (typeof next !== 'string' || next === kind) break
    kind = next
    facts = {}
  }
  const why = whyRefused(columns, fitted)
  if (why !== null) return why
  if (action.verb === 'dynamic' || action.verb === 'unknown')
    return `what ${kind} runs cannot be seen before it runs, and columns are masked here: write the statement out`
  if (queries.has(kind)) return null
  if (!plainDdl.has(kind))
    return `${kind} is not carried out where columns are masked: ask a person with an unmasked role`
  if (byColumns.has(kind)) return null
  const oid = columns.relations.find(o => anyMasked(o, fitted))
  return oid === undefined
    ? null
    : `${kind} on ${fitted.catalog.relations.get(oid)?.name ?? oid}, which has masked columns, could uncover them: ask a person with an unmasked role`
}
