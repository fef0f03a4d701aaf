import type { ColumnId } from './contract.ts'
import { expression } from './expression.ts'
import type { Facts } from './facts.ts'
import { bindFrom, bindTable } from './from.ts'
import { type Columns, openColumns, type Scope, type Source } from './scope.ts'
import { bindSelect, bindTargets } from './select.ts'
import { list, type Tree, text, tree, unwrap } from './tree.ts'
import { bindWith, type Ctes } from './with.ts'

/** INSERT, UPDATE, DELETE and MERGE, at the top or inside WITH. Answers what RETURNING shows. */
export function bindDml(facts: Facts, type: string, node: Tree, parent: Ctes | undefined): Columns {
  facts.atLeast('write')
  const ctes = bindWith(facts, node, parent)
  const relation = tree(node, 'relation') ?? {}
  const target = bindTable(facts, relation, 'write', undefined)
  const scope: Scope = { parent: undefined, sources: [target] }
  switch (type) {
    case 'InsertStmt':
      bindInsert(facts, node, target, ctes)
      break
    case 'UpdateStmt':
      for (const item of list(node, 'fromClause')) bindFrom(facts, item, scope, ctes)
      bindAssignments(facts, list(node, 'targetList'), scope, ctes)
      break
    case 'DeleteStmt':
      for (const item of list(node, 'usingClause')) bindFrom(facts, item, scope, ctes)
      break
    case 'MergeStmt': {
      bindFrom(facts, tree(node, 'sourceRelation') ?? {}, scope, ctes)
      expression(facts, node.joinCondition, scope, ctes, 'join')
      for (const item of list(node, 'mergeWhenClauses')) {
        const when = unwrap(item)[1]
        expression(facts, when.condition, scope, ctes, 'predicate')
        bindAssignments(facts, list(when, 'targetList'), scope, ctes)
        expression(facts, when.values, scope, ctes, 'stored')
      }
      break
    }
    default:
      facts.atLeast('unknown')
      facts.open(`${type || 'something'} where a query was expected`)
  }
  if (node.whereClause !== undefined) expression(facts, node.whereClause, scope, ctes, 'predicate')
  else if (type === 'UpdateStmt' || type === 'DeleteStmt') facts.unfiltered = true
  const returning = tree(node, 'returningClause')
  if (node.whereClause !== undefined || returning !== undefined) readsTarget(facts, relation)
  return returning === undefined ? [] : bindReturning(facts, returning, scope, target, ctes, type === 'MergeStmt')
}

function readsTarget(facts: Facts, relation: Tree): void {
  facts.relation(text(relation, 'schemaname'), text(relation, 'relname'), 'read')
}

function bindInsert(facts: Facts, node: Tree, target: Source, ctes: Ctes | undefined): void {
  const scope: Scope = { parent: undefined, sources: [] }
  for (const column of list(node, 'cols')) expression(facts, unwrap(column)[1].indirection, scope, ctes, 'stored')
  const query = tree(node, 'selectStmt')
  if (query !== undefined) {
    const columns = bindSelect(facts, unwrap(query)[1], undefined, ctes)
    for (const c of columns) if (c.origin !== null) facts.use(c.origin, 'stored')
  }
  const conflict = tree(node, 'onConflictClause')
  if (conflict === undefined) return
  const infer = tree(conflict, 'infer')
  const own: Scope = { parent: undefined, sources: [target] }
  for (const item of infer === undefined ? [] : list(infer, 'indexElems')) {
    const element = unwrap(item)[1]
    const name = text(element, 'name')
    const column: ColumnId | null = target.columns.find(c => c.name === name)?.origin ?? null
    if (column !== null) facts.use(column, 'predicate')
    expression(facts, element.expr, own, ctes, 'predicate')
  }
  if (infer !== undefined) expression(facts, infer.whereClause, own, ctes, 'predicate')
  // what the client itself sent in this INSERT: no column of the table is behind it
  const excluded: Source = {
    alias: 'excluded',
    schema: null,
    columns: target.columns.map(c => (c.open ? c : { name: c.name, origin: null })),
    oid: null,
    derived: false,
  }
  const both: Scope = { parent: undefined, sources: [target, excluded] }
  bindAssignments(facts, list(conflict, 'targetList'), both, ctes)
  expression(facts, conflict.whereClause, both, ctes, 'predicate')
}

function bindAssignments(facts: Facts, targets: readonly Tree[], scope: Scope, ctes: Ctes | undefined): void {
  for (const item of targets) {
    const target = unwrap(item)[1]
    expression(facts, target.indirection, scope, ctes, 'stored')
    expression(facts, target.val, scope, ctes, 'stored')
  }
}

function bindReturning(
  facts: Facts,
  clause: Tree,
  scope: Scope,
  target: Source,
  ctes: Ctes | undefined,
  merge: boolean,
): Columns {
  const names = { old: 'old', new: 'new' }
  for (const item of list(clause, 'options')) {
    const option = unwrap(item)[1]
    if (option.option === 'RETURNING_OPTION_OLD') names.old = text(option, 'value')
    if (option.option === 'RETURNING_OPTION_NEW') names.new = text(option, 'value')
  }
  const rows = [names.old, names.new]
    .filter(alias => !scope.sources.some(s => s.alias === alias))
    .map((alias): Source => ({ ...target, alias, schema: null, derived: true }))
  const all: Scope = { parent: undefined, sources: [...scope.sources, ...rows] }
  // in which order MERGE shows its two sides is not followed
  const star = [...(merge ? openColumns : []), ...scope.sources.flatMap(s => s.columns)]
  return bindTargets(facts, list(clause, 'exprs'), all, star, ctes)
}
