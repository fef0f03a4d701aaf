import { expression } from './expression.ts'
import type { Facts } from './facts.ts'
import { type Columns, openColumns, renamed, type Scope, type ScopeColumn, type Source } from './scope.ts'
import { bindSelect } from './select.ts'
import { flag, list, type Tree, text, tree, unwrap, words } from './tree.ts'
import { type Ctes, findCte } from './with.ts'

/**
 * Binds one item of a FROM clause: pushes what it makes visible to `scope` and answers what `*` shows of it.
 * What was pushed before is what LATERAL may see, as in the server.
 */
export function bindFrom(facts: Facts, item: Tree, scope: Scope, ctes: Ctes | undefined): Columns {
  facts.enter()
  const columns = bindItem(facts, item, scope, ctes)
  facts.leave()
  return columns
}

function bindItem(facts: Facts, item: Tree, scope: Scope, ctes: Ctes | undefined): Columns {
  const [type, node] = unwrap(item)
  switch (type) {
    case 'RangeVar': {
      const source = bindTable(facts, node, 'read', ctes)
      scope.sources.push(source)
      return source.columns
    }
    case 'RangeSubselect': {
      const visible: Scope | undefined = flag(node, 'lateral')
        ? { parent: scope.parent, sources: [...scope.sources] }
        : scope.parent
      const columns = bindSelect(facts, unwrap(tree(node, 'subquery'))[1], visible, ctes)
      return push(scope, node, columns)
    }
    case 'JoinExpr':
      return bindJoin(facts, node, scope, ctes)
    case 'RangeTableSample': {
      const columns = bindFrom(facts, tree(node, 'relation') ?? {}, scope, ctes)
      const method = words(list(node, 'method'))
      facts.calls(method.length > 1 ? (method.at(-2) ?? '') : '', method.at(-1) ?? '')
      expression(facts, node.args, scope, ctes, 'predicate')
      expression(facts, node.repeatable, scope, ctes, 'predicate')
      return columns
    }
    case 'RangeFunction':
    case 'RangeTableFunc':
    case 'JsonTable': {
      // always lateral; what they answer is computed, so no table column is behind it
      const { alias, ...parts } = node
      expression(facts, parts, { parent: scope.parent, sources: [...scope.sources] }, ctes, 'expression')
      return push(scope, { alias }, openColumns)
    }
    default:
      facts.atLeast('unknown')
      facts.open(`${type || 'something'} in FROM is not known`)
      return openColumns
  }
}

/** A table, view or WITH name, under its alias. */
export function bindTable(facts: Facts, node: Tree, how: 'read' | 'write', ctes: Ctes | undefined): Source {
  const schema = text(node, 'schemaname')
  const name = text(node, 'relname')
  const alias = tree(node, 'alias')
  const names = alias === undefined ? [] : words(list(alias, 'colnames'))
  const shown = (alias === undefined ? '' : text(alias, 'aliasname')) || name
  const cte = schema === '' && how === 'read' ? findCte(facts, ctes, name) : undefined
  if (cte !== undefined) {
    return {
      alias: shown,
      schema: null,
      columns: renamed(cte.columns, names),
      oid: null,
      derived: false,
    }
  }
  const relation = facts.relation(schema, name, how)
  if (relation === undefined) facts.misses(schema, name)
  const columns: Columns =
    relation?.columns.map(c => ({ name: c.name, origin: { oid: relation.oid, attnum: c.attnum } })) ?? openColumns
  return {
    alias: shown,
    schema: alias === undefined ? (relation?.schema ?? schema) : null,
    columns: renamed(columns, names),
    oid: relation?.oid ?? null,
    derived: false,
  }
}

function push(scope: Scope, node: Tree, columns: Columns): Columns {
  const alias = tree(node, 'alias')
  const names = alias === undefined ? [] : words(list(alias, 'colnames'))
  const shown = renamed(columns, names)
  scope.sources.push({
    alias: alias === undefined ? '' : text(alias, 'aliasname'),
    schema: null,
    columns: shown,
    oid: null,
    derived: false,
  })
  return shown
}

function bindJoin(facts: Facts, node: Tree, scope: Scope, ctes: Ctes | undefined): Columns {
  const from = scope.sources.length
  const left = bindFrom(facts, tree(node, 'larg') ?? {}, scope, ctes)
  const right = bindFrom(facts, tree(node, 'rarg') ?? {}, scope, ctes)
  const own: Scope = { parent: scope.parent, sources: scope.sources.slice(from) }
  const using = flag(node, 'isNatural') ? sharedNames(facts, left, right) : words(list(node, 'usingClause'))
  const merged: ScopeColumn[] = []
  for (const name of using) {
    // a column whose name is not known may be the one
    for (const c of [...left, ...right])
      if (c.origin !== null && (c.name === name || c.name === null)) facts.use(c.origin, 'join')
    merged.push({ name, origin: left.find(c => c.name === name)?.origin ?? null })
  }
  expression(facts, node.quals, own, ctes, 'join')
  const rest = (side: Columns): Columns => side.filter(c => c.name === null || !using.includes(c.name))
  const all = [...merged, ...rest(left), ...rest(right)]
  const usingAlias = tree(node, 'join_using_alias')
  if (usingAlias !== undefined) {
    scope.sources.push({
      alias: text(usingAlias, 'aliasname'),
      schema: null,
      columns: merged,
      oid: null,
      derived: true,
    })
  }
  const alias = tree(node, 'alias')
  if (alias === undefined) return all
  scope.sources.length = from // an alias hides the names inside the join
  return push(scope, node, all)
}

function sharedNames(facts: Facts, left: Columns, right: Columns): string[] {
  if ([...left, ...right].some(c => c.name === null)) {
    facts.open('NATURAL JOIN with unknown columns')
    return []
  }
  return left.flatMap(c => (c.name !== null && right.some(r => r.name === c.name) ? [c.name] : []))
}
