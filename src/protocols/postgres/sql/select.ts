import type { ColumnId, Use } from './contract.ts'
import { bindDml } from './dml.ts'
import { type Facts, Unfollowable } from './facts.ts'
import { bindFrom } from './from.ts'
import {
  type Columns,
  type Found,
  findColumn,
  findQualified,
  findSources,
  openColumns,
  renamed,
  type Scope,
  type ScopeColumn,
} from './scope.ts'
import {
  flag,
  integerConstant,
  isNodeName,
  isTree,
  knownNodes,
  list,
  type Tree,
  text,
  tree,
  unwrap,
  words,
} from './tree.ts'

const maxDepth = 400
const maxOutputs = 5000

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

/** @param first told the columns of a set operation's first term before the second is bound (WITH RECURSIVE) */
export function bindSelect(
  facts: Facts,
  node: Tree,
  outer: Scope | undefined,
  parent: Ctes | undefined,
  first?: (columns: Columns) => void,
): Columns {
  if (++facts.depth > maxDepth) throw new Unfollowable('it is nested too deeply')
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
  facts.depth--
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

/** The same columns, showing no table column any more. */
const computed = (columns: Columns): Columns => columns.map(c => (c.open ? c : { name: c.name, origin: null }))

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

function find(scope: Scope, fields: readonly string[]): Found {
  const name = fields.at(-1) ?? ''
  if (fields.length === 1) return findColumn(scope, name)
  return findQualified(scope, fields.length > 2 ? (fields.at(-3) ?? null) : null, fields.at(-2) ?? '', name)
}

/** Notes the use of what a name found, other than as a bare output. */
function note(facts: Facts, found: Found, fields: readonly string[], how: Use): void {
  if (found.kind === 'missing') {
    if (facts.names.catalog !== undefined) facts.open(`the column ${fields.join('.')} is not known`)
    return
  }
  if (found.kind === 'column') {
    for (const origin of found.origins) facts.use(origin, how)
    return
  }
  for (const source of found.sources) {
    if (source.oid !== null) facts.use({ oid: source.oid, attnum: 0 }, 'whole_row')
    for (const c of source.columns) if (c.origin !== null) facts.use(c.origin, 'whole_row')
  }
  if (found.call !== null) facts.fieldCall(found.call)
}

/** Walks anything inside an expression. Every column it finds is used otherwise than as a bare output. */
export function expression(facts: Facts, value: unknown, scope: Scope, ctes: Ctes | undefined, how: Use): void {
  if (Array.isArray(value)) {
    for (const item of value) expression(facts, item, scope, ctes, how)
    return
  }
  if (!isTree(value)) return
  if (++facts.depth > maxDepth) throw new Unfollowable('it is nested too deeply')
  for (const key in value) {
    const inner = value[key]
    if (!isNodeName(key)) {
      if (key === 'useOp' || (key === 'operName' && Array.isArray(inner))) operatorName(facts, inner)
      if (typeof inner === 'object') expression(facts, inner, scope, ctes, how)
      continue
    }
    if (!knownNodes.has(key)) {
      facts.atLeast('unknown')
      facts.open(`the construct ${key} is not known`)
    }
    if (isTree(inner)) expressionNode(facts, key, inner, scope, ctes, how)
  }
  if (Array.isArray(value.names) && 'typemod' in value) typeName(facts, value)
  facts.depth--
}

function expressionNode(facts: Facts, type: string, node: Tree, scope: Scope, ctes: Ctes | undefined, how: Use): void {
  switch (type) {
    case 'ColumnRef': {
      const fields = words(list(node, 'fields'))
      if (fields.at(-1) !== '*') {
        note(facts, find(scope, fields), fields, how)
        return
      }
      const sources =
        fields.length === 1
          ? scope.sources
          : findSources(scope, fields.length > 2 ? (fields.at(-3) ?? null) : null, fields.at(-2) ?? '')
      note(facts, { kind: 'row', sources, call: null }, fields, how)
      return
    }
    case 'SubLink': {
      expression(facts, node.testexpr, scope, ctes, 'predicate')
      operatorName(facts, node.operName)
      const columns = bindSelect(facts, unwrap(tree(node, 'subselect'))[1], scope, ctes)
      if (node.subLinkType === 'EXISTS_SUBLINK') return
      for (const c of columns) if (c.origin !== null) facts.use(c.origin, how)
      return
    }
    case 'SelectStmt': {
      const columns = bindSelect(facts, node, scope, ctes)
      for (const c of columns) if (c.origin !== null) facts.use(c.origin, how)
      return
    }
    case 'FuncCall': {
      const name = words(list(node, 'funcname'))
      const schema = name.length > 1 ? (name.at(-2) ?? '') : ''
      const last = name.at(-1) ?? ''
      if (last !== 'set_config' || !facts.configures(schema, list(node, 'args'))) facts.calls(schema, last)
      break
    }
    case 'A_Expr':
      operatorName(facts, node.name)
      break
    case 'A_Indirection':
      for (const field of list(node, 'indirection')) {
        const [kind, body] = unwrap(field)
        if (kind === 'String') facts.fieldCall(text(body, 'sval'))
      }
      break
    case 'TypeCast':
      if (facts.names.catalog?.userCasts === true) facts.call('a cast, and casts made by users exist')
      break
    case 'RangeVar':
      facts.relation(text(node, 'schemaname'), text(node, 'relname'), 'read')
      facts.open('a relation inside an expression')
      break
  }
  expression(facts, node, scope, ctes, how)
}

function operatorName(facts: Facts, value: unknown): void {
  const name = Array.isArray(value) ? words(value.filter(isTree)) : []
  if (name.length > 0) facts.operator(name.length > 1 ? (name.at(-2) ?? '') : '', name.at(-1) ?? '')
}

function typeName(facts: Facts, node: Tree): void {
  const name = words(list(node, 'names'))
  facts.type(name.length > 1 ? (name.at(-2) ?? '') : '', name.at(-1) ?? '')
}

export const outputsOf = (columns: Columns): readonly (ColumnId | null)[] | null =>
  columns.some(c => c.open) ? null : columns.map(c => c.origin)
