import { bindDml } from './dml.ts'
import { expression } from './expression.ts'
import type { Facts } from './facts.ts'
import { type Columns, computed, openColumns, renamed } from './scope.ts'
import { bindSelect } from './select.ts'
import { flag, list, type Tree, text, tree, unwrap, words } from './tree.ts'

interface Cte {
  readonly node: Tree
  /** undefined: not bound yet (only in WITH RECURSIVE). */
  columns: Columns | undefined
  busy: boolean
}

/** The WITH names that a place in the tree can see. */
export interface Ctes {
  readonly parent: Ctes | undefined
  readonly items: Map<string, Cte>
}

export function findCte(facts: Facts, ctes: Ctes | undefined, name: string): { readonly columns: Columns } | undefined {
  for (let level = ctes; level !== undefined; level = level.parent) {
    const cte = level.items.get(name)
    if (cte === undefined) continue
    if (cte.columns === undefined) {
      if (cte.busy) {
        facts.open(`the query ${name} stands on itself`)
        return { columns: openColumns }
      }
      bindCte(facts, cte, level)
    }
    return { columns: cte.columns ?? openColumns }
  }
  return undefined
}

function bindCte(facts: Facts, cte: Cte, ctes: Ctes): void {
  cte.busy = true
  const names = words(list(cte.node, 'aliascolnames'))
  const rename = (columns: Columns): Columns => renamed(columns, names)
  const [type, body] = unwrap(tree(cte.node, 'ctequery'))
  const columns =
    type === 'SelectStmt'
      ? bindSelect(facts, body, undefined, ctes, first => {
          // the recursive term sees the first term's names; what they show is lost in the union and was noted there
          cte.columns = rename(computed(first))
        })
      : bindDml(facts, type, body, ctes)
  const search = tree(cte.node, 'search_clause')
  const cycle = tree(cte.node, 'cycle_clause')
  const extra = [
    ...(search === undefined ? [] : [text(search, 'search_seq_column')]),
    ...(cycle === undefined ? [] : [text(cycle, 'cycle_mark_column'), text(cycle, 'cycle_path_column')]),
  ]
  cte.columns = [...rename(columns), ...extra.map(name => ({ name, origin: null }))]
  if (cycle !== undefined)
    for (const key of ['cycle_mark_value', 'cycle_mark_default'])
      expression(facts, cycle[key], { parent: undefined, sources: [] }, ctes, 'expression')
  cte.busy = false
}

export function bindWith(facts: Facts, node: Tree, parent: Ctes | undefined): Ctes | undefined {
  const clause = tree(node, 'withClause')
  if (clause === undefined) return parent
  const items = new Map<string, Cte>()
  const level: Ctes = { parent, items }
  const ctes = list(clause, 'ctes').map(item => unwrap(item)[1])
  const recursive = flag(clause, 'recursive')
  if (recursive) for (const node of ctes) items.set(text(node, 'ctename'), { node, columns: undefined, busy: false })
  for (const node of ctes) {
    const cte: Cte = items.get(text(node, 'ctename')) ?? { node, columns: undefined, busy: false }
    if (cte.columns === undefined && !cte.busy) bindCte(facts, cte, level)
    items.set(text(node, 'ctename'), cte)
  }
  return level
}
