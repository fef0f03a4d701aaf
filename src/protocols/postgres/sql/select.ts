import type { ColumnId, Use } from './contract.ts'
import { expression, find, note } from './expression.ts'
import { type Facts, Unfollowable } from './facts.ts'
import { bindFrom } from './from.ts'
import { type Columns, computed, findSources, openColumns, type Scope, type ScopeColumn } from './scope.ts'
import { integerConstant, list, type Tree, text, tree, unwrap, words } from './tree.ts'
import { bindWith, type Ctes } from './with.ts'

const maxOutputs = 5000

/** @param first told the columns of a set operation's first term before the second is bound (WITH RECURSIVE) */
export function bindSelect(
  facts: Facts,
  node: Tree,
  outer: Scope | undefined,
  parent: Ctes | undefined,
  first?: (columns: Columns) => void,
): Columns {
  facts.enter()
  facts.atLeast('read')
  const ctes = bindWith(facts, node, parent)
  const scope: Scope = { parent: outer, sources: [] }
  let columns: Columns
  const left = tree(node, 'larg')
  const right = tree(node, 'rarg')
  if (left !== undefined && right !== undefined) {
    const l = bindSelect(facts, left, outer, ctes)
    first?.(l)
    const r = bindSelect(facts, right, outer, ctes)
    for (const c of [...l, ...r]) if (c.origin !== null) facts.use(c.origin, 'union')
    columns = computed(l)
    scope.sources.push({ alias: '', schema: null, columns, oid: null, derived: false })
  } else if (node.valuesLists !== undefined) {
    const rows = list(node, 'valuesLists')
    for (const row of rows) expression(facts, row, scope, ctes, 'expression')
    columns = list(unwrap(rows[0])[1], 'items').map((_, i) => ({ name: `column${i + 1}`, origin: null }))
  } else {
    const star = list(node, 'fromClause').flatMap(item => bindFrom(facts, item, scope, ctes))
    columns = bindTargets(facts, list(node, 'targetList'), scope, star, ctes)
    expression(facts, node.whereClause, scope, ctes, 'predicate')
    bindSorting(facts, list(node, 'groupClause'), scope, columns, ctes, 'group')
    expression(facts, node.havingClause, scope, ctes, 'predicate')
    for (const window of list(node, 'windowClause')) expression(facts, window, scope, ctes, 'order')
    if (Array.isArray(node.distinctClause)) {
      // equal values fall together: the number of rows tells which are equal
      for (const c of columns) if (c.origin !== null) facts.use(c.origin, 'group')
      bindSorting(
        facts,
        list(node, 'distinctClause').filter(n => Object.keys(n).length > 0),
        scope,
        columns,
        ctes,
        'group',
      )
    }
  }
  bindSorting(facts, list(node, 'sortClause'), scope, columns, ctes, 'order')
  expression(facts, node.limitCount, { parent: outer, sources: [] }, ctes, 'predicate')
  expression(facts, node.limitOffset, { parent: outer, sources: [] }, ctes, 'predicate')
  if (list(node, 'lockingClause').length > 0) {
    facts.atLeast('write')
    facts.locks(scope.sources.flatMap(s => (s.oid === null ? [] : [s.oid])))
  }
  const into = tree(node, 'intoClause')
  if (into !== undefined) bindInto(facts, into, columns)
  facts.leave()
  return columns
}

/** CREATE TABLE AS and SELECT INTO: what the query shows bare would be stored in the clear. */
export function bindInto(facts: Facts, into: Tree, columns: Columns): void {
  facts.atLeast('ddl')
  const target = tree(into, 'rel')
  if (target !== undefined) facts.creates(text(target, 'schemaname'), text(target, 'relname'))
  for (const c of columns) if (c.origin !== null) facts.use(c.origin, 'stored')
}

export function bindTargets(
  facts: Facts,
  targets: readonly Tree[],
  scope: Scope,
  star: Columns,
  ctes: Ctes | undefined,
): Columns {
  const columns: ScopeColumn[] = []
  for (const item of targets) {
    const target = unwrap(item)[1]
    const value = tree(target, 'val')
    const [type, body] = unwrap(value)
    const name = text(target, 'name') || null
    if (type !== 'ColumnRef') {
      expression(facts, value, scope, ctes, 'expression')
      columns.push({
        name: name ?? (type === 'FuncCall' ? (words(list(body, 'funcname')).at(-1) ?? null) : null),
        origin: null,
      })
      continue
    }
    const fields = words(list(body, 'fields'))
    if (fields.at(-1) === '*') {
      columns.push(...(fields.length === 1 ? star : expandStar(facts, scope, fields)))
    } else {
      const found = find(scope, fields)
      const origin = found.kind === 'column' && found.origins.length === 1 && !found.derived ? found.origins[0]! : null
      if (origin === null) note(facts, found, fields, 'expression')
      columns.push({ name: name ?? fields.at(-1) ?? null, origin })
    }
    if (columns.length > maxOutputs) throw new Unfollowable('it has too many output columns')
  }
  return columns
}

function expandStar(facts: Facts, scope: Scope, fields: readonly string[]): Columns {
  const sources = findSources(scope, fields.length > 2 ? (fields.at(-3) ?? null) : null, fields.at(-2) ?? '')
  if (sources.length !== 1) {
    facts.open(`${fields.join('.')} cannot be expanded`)
    return [...openColumns, ...sources.flatMap(s => s.columns)]
  }
  const source = sources[0]!
  if (!source.derived) return source.columns
  for (const c of source.columns) if (c.origin !== null) facts.use(c.origin, 'expression')
  return computed(source.columns)
}

/** ORDER BY, GROUP BY and DISTINCT ON may name an output column or give its number. */
function bindSorting(
  facts: Facts,
  items: readonly Tree[],
  scope: Scope,
  columns: Columns,
  ctes: Ctes | undefined,
  how: Use,
): void {
  for (const item of items) {
    const [type, body] = unwrap(item)
    const node = type === 'SortBy' ? tree(body, 'node') : item
    if (type === 'SortBy')
      for (const name of [words(list(body, 'useOp'))])
        if (name.length > 0) facts.operator(name.length > 1 ? name[0]! : '', name.at(-1)!)
    const [inner, leaf] = unwrap(node)
    if (inner === 'GroupingSet') {
      bindSorting(facts, list(leaf, 'content'), scope, columns, ctes, how)
      continue
    }
    if (inner === 'RowExpr' && how === 'group') {
      // the server takes `(1, name)` apart here, and what is in it may again be an output's number
      bindSorting(facts, list(leaf, 'args'), scope, columns, ctes, how)
      continue
    }
    if (inner === 'A_Const') {
      facts.literalMatters = true
      const position = integerConstant(node)
      const outputs = position === undefined || columns.some(c => c.open) ? columns : [columns[position - 1]]
      for (const c of outputs) if (c?.origin) facts.use(c.origin, how)
      continue
    }
    if (inner === 'ColumnRef') {
      const fields = words(list(leaf, 'fields'))
      const named =
        fields.length === 1 ? columns.filter(c => c.name === fields[0] || (c.name === null && c.origin !== null)) : []
      for (const c of named) if (c.origin !== null) facts.use(c.origin, how)
      const found = find(scope, fields)
      if (named.length === 0 || found.kind === 'column') note(facts, found, fields, how)
      continue
    }
    expression(facts, node, scope, ctes, how)
  }
}

export const outputsOf = (columns: Columns): readonly (ColumnId | null)[] | null =>
  columns.some(c => c.open) ? null : columns.map(c => c.origin)
