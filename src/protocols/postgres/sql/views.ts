import { createAnalyzer } from './analyze.ts'
import type { CatalogSnapshot, ColumnUse, Relation } from './contract.ts'
import { whyRefused } from './judge.ts'
import { columnKey, isSystem, type Masked, stricter } from './rules.ts'

const maxPasses = 30
const definitions = new WeakMap<CatalogSnapshot, Map<number, ColumnUse | undefined>>()

/** What a view's definition does with columns, by PostgreSQL's own text of it. undefined: it cannot be followed. */
function readDefinition(view: Relation, catalog: CatalogSnapshot): ColumnUse | undefined {
  let known = definitions.get(catalog)
  if (known === undefined) definitions.set(catalog, (known = new Map()))
  if (known.has(view.oid)) return known.get(view.oid)
  const analysis = createAnalyzer({ searchPath: ['pg_catalog'], catalog: () => catalog }, { cache: false }).analyze(
    view.definition ?? '',
  )
  const statement = analysis.ok && analysis.statements.length === 1 ? analysis.statements[0] : undefined
  const use = statement?.refusal === null && statement.action.kind === 'select' ? statement.columns : undefined
  known.set(view.oid, use)
  return use
}

/**
 * Masks follow into views whose masked columns are bare columns of the tables below; a view that does more with one is
 * closed, with the reason. Repeats until nothing changes, since views stand on views.
 */
export function followViews(masked: Masked, catalog: CatalogSnapshot): ReadonlyMap<number, string> {
  const closed = new Map<number, string>()
  const views = [...catalog.relations.values()].filter(r => r.definition !== null && !isSystem(r))
  for (let pass = 0; ; pass++) {
    let changed = false
    for (const view of views) {
      if (closed.has(view.oid)) continue
      const use = readDefinition(view, catalog)
      const why =
        use === undefined || use.outputs === null
          ? 'its definition cannot be followed'
          : whyRefused(use, { masked, closed, catalog })
      if (why !== null || use === undefined || pass > maxPasses) {
        closed.set(view.oid, why ?? 'it stands on too many views')
        changed = true
        continue
      }
      for (const [i, column] of view.columns.entries()) {
        const origin = use.outputs?.[i]
        const transform = origin ? masked.get(columnKey(origin.oid, origin.attnum)) : undefined
        if (transform === undefined) continue
        const key = columnKey(view.oid, column.attnum)
        const before = masked.get(key)
        const after = stricter(before, transform)
        masked.set(key, after)
        if (before !== after) changed = true
      }
    }
    if (!changed) return closed
  }
}
