import type { Use } from './contract.ts'
import type { Facts } from './facts.ts'
import { type Found, findColumn, findQualified, findSources, type Scope } from './scope.ts'
import { bindSelect } from './select.ts'
import { isNodeName, isTree, knownNodes, list, type Tree, text, tree, unwrap, words } from './tree.ts'
import type { Ctes } from './with.ts'

/** Walks anything inside an expression. Every column it finds is used otherwise than as a bare output. */
export function expression(facts: Facts, value: unknown, scope: Scope, ctes: Ctes | undefined, how: Use): void {
  if (Array.isArray(value)) {
    for (const item of value) expression(facts, item, scope, ctes, how)
    return
  }
  if (!isTree(value)) return
  facts.enter()
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
  facts.leave()
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

/** What a name in an expression means. */
export function find(scope: Scope, fields: readonly string[]): Found {
  const name = fields.at(-1) ?? ''
  if (fields.length === 1) return findColumn(scope, name)
  return findQualified(scope, fields.length > 2 ? (fields.at(-3) ?? null) : null, fields.at(-2) ?? '', name)
}

/** Notes the use of what a name found, other than as a bare output. */
export function note(facts: Facts, found: Found, fields: readonly string[], how: Use): void {
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
