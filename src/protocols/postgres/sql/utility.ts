import { bindDml } from './dml.ts'
import { expression } from './expression.ts'
import type { Facts, Verb } from './facts.ts'
import { openColumns } from './scope.ts'
import { bindSelect } from './select.ts'
import { isNodeName, isTree, knownNodes, list, type Tree, text, tree, unwrap, words } from './tree.ts'

/** How the names of roles begin that are made for a session. */
export const leasePrefix = 'sp_'

interface Utility {
  readonly kind: string
  readonly verb: Verb
}

const table = (verb: Verb, names: string): [string, Utility][] =>
  names
    .trim()
    .split(/\s+/)
    .map(name => [name, { kind: kindOf(name), verb }])

const kindNames: Readonly<Record<string, string>> = {
  CreateStmt: 'create_table',
  IndexStmt: 'create_index',
  CreateSeqStmt: 'create_sequence',
  AlterSeqStmt: 'alter_sequence',
  CompositeTypeStmt: 'create_type',
  CreateEnumStmt: 'create_type',
  CreateRangeStmt: 'create_type',
  CreateStatsStmt: 'create_statistics',
  AlterStatsStmt: 'alter_statistics',
  RefreshMatViewStmt: 'refresh_materialized_view',
  RuleStmt: 'create_rule',
  CreateTrigStmt: 'create_trigger',
  CreateEventTrigStmt: 'create_event_trigger',
  AlterEventTrigStmt: 'alter_event_trigger',
  CreatedbStmt: 'create_database',
  DropdbStmt: 'drop_database',
  CreatePLangStmt: 'create_language',
  CheckPointStmt: 'checkpoint',
  ConstraintsSetStmt: 'set_constraints',
  SecLabelStmt: 'security_label',
}

/** AlterTableStmt → alter_table */
const kindOf = (type: string): string =>
  kindNames[type] ??
  type
    .replace(/Stmt$/, '')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase()

/** Statements that are neither queries nor bound one by one in statement.ts, by what they do. */
export const utilities: Readonly<Record<string, Utility>> = Object.fromEntries([
  ...table(
    'ddl',
    `CreateStmt AlterTableStmt IndexStmt DropStmt RenameStmt CommentStmt CreateSchemaStmt CreateSeqStmt AlterSeqStmt DefineStmt
     CreateDomainStmt AlterDomainStmt CompositeTypeStmt CreateEnumStmt CreateRangeStmt AlterEnumStmt AlterTypeStmt
     CreateStatsStmt AlterStatsStmt AlterObjectDependsStmt AlterObjectSchemaStmt AlterOwnerStmt AlterOperatorStmt
     AlterCollationStmt CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt CreateConversionStmt
     AlterTSDictionaryStmt AlterTSConfigurationStmt ReplicaIdentityStmt`,
  ),
  ...table(
    'dynamic',
    'DoStmt CallStmt CreateFunctionStmt AlterFunctionStmt CreateTrigStmt RuleStmt CreateEventTrigStmt AlterEventTrigStmt CreateCastStmt CreateTransformStmt',
  ),
  ...table(
    'admin',
    `GrantStmt GrantRoleStmt AlterDefaultPrivilegesStmt CreateRoleStmt AlterRoleStmt AlterRoleSetStmt DropRoleStmt
     DropOwnedStmt ReassignOwnedStmt CreatedbStmt AlterDatabaseStmt AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt
     DropdbStmt AlterSystemStmt CreateTableSpaceStmt DropTableSpaceStmt AlterTableSpaceOptionsStmt
     AlterTableMoveAllStmt CreateExtensionStmt AlterExtensionStmt AlterExtensionContentsStmt CreateFdwStmt AlterFdwStmt
     CreateForeignServerStmt AlterForeignServerStmt CreateForeignTableStmt CreateUserMappingStmt AlterUserMappingStmt
     DropUserMappingStmt ImportForeignSchemaStmt CreatePolicyStmt AlterPolicyStmt CreateAmStmt CreatePLangStmt SecLabelStmt
     CreatePublicationStmt AlterPublicationStmt CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt
     LoadStmt CheckPointStmt VacuumStmt ClusterStmt ReindexStmt`,
  ),
  ...table('write', 'TruncateStmt RefreshMatViewStmt LockStmt NotifyStmt'),
  ...table('session', 'ListenStmt UnlistenStmt ConstraintsSetStmt'),
])

/** DDL that may run on a database with masked columns, where it names no masked relation. */
export const plainDdl: ReadonlySet<string> = new Set(
  `create_table alter_table create_index rename comment create_schema create_sequence alter_sequence create_type alter_enum
   create_statistics alter_statistics alter_object_schema alter_owner create_view create_table_as create_materialized_view
   select_into truncate refresh_materialized_view lock notify listen unlisten set_constraints vacuum analyze cluster reindex
   checkpoint`
    .trim()
    .split(/\s+/)
    .concat('table view index sequence matview type schema domain'.split(' ').map(object => `drop_${object}`)),
)

const secretKinds =
  /^(CreateRole|AlterRole|CreateUserMapping|AlterUserMapping|CreateSubscription|AlterSubscription|CreateForeignServer|AlterForeignServer|CreateFdw|AlterFdw|AlterSystem)Stmt$/
const relationObjects = new Set([
  'OBJECT_TABLE',
  'OBJECT_VIEW',
  'OBJECT_MATVIEW',
  'OBJECT_INDEX',
  'OBJECT_SEQUENCE',
  'OBJECT_FOREIGN_TABLE',
])
const onRelation = new Set(['OBJECT_COLUMN', 'OBJECT_TRIGGER', 'OBJECT_RULE', 'OBJECT_POLICY', 'OBJECT_TABCONSTRAINT'])

export function bindUtility(
  facts: Facts,
  draft: { kind: string; facts: Record<string, unknown>; secret: boolean; refusal: string | null },
  type: string,
  node: Tree,
): void {
  draft.secret = secretKinds.test(type)
  if (type === 'DropStmt') draft.kind = `drop_${text(node, 'removeType').replace('OBJECT_', '').toLowerCase()}`
  if (type === 'GrantStmt' || type === 'GrantRoleStmt') draft.kind = node.is_grant === true ? 'grant' : 'revoke'
  if (type === 'ListenStmt' || type === 'NotifyStmt') draft.facts = { channel: text(node, 'conditionname') }
  if (type === 'VacuumStmt' && node.is_vacuumcmd !== true) draft.kind = 'analyze'
  if (type === 'AlterSystemStmt') draft.facts = { variable: text(tree(node, 'setstmt') ?? {}, 'name').toLowerCase() }
  if (type === 'AlterRoleStmt' || type === 'AlterRoleSetStmt') draft.refusal ??= refuseRole(tree(node, 'role'))
  if (type === 'CreateExtensionStmt') draft.facts = { extension: text(node, 'extname') }
  const objects = [...list(node, 'objects'), ...(tree(node, 'object') === undefined ? [] : [tree(node, 'object')!])]
  const object = text(node, 'removeType') || text(node, 'objtype') || text(node, 'renameType')
  for (const item of objects) {
    const [kind, body] = unwrap(item)
    if (kind !== 'List') continue
    const name = words(list(body, 'items'))
    if (onRelation.has(object)) name.pop()
    if (relationObjects.has(object) || onRelation.has(object)) touch(facts, name.at(-2) ?? '', name.at(-1) ?? '', type)
  }
  if (type === 'CreateStmt' || type === 'CreateForeignTableStmt') {
    const base = tree(node, 'base') ?? node
    const relation = tree(base, 'relation') ?? tree(tree(base, 'CreateStmt') ?? {}, 'relation') ?? {}
    facts.creates(text(relation, 'schemaname'), text(relation, 'relname'))
    const { relation: _target, ...rest } = base
    walk(facts, rest, '')
    return
  }
  if (type === 'RenameStmt' || type === 'CreateSeqStmt' || type === 'CompositeTypeStmt') {
    const made = tree(node, 'sequence') ?? tree(node, 'typevar')
    if (made !== undefined) {
      facts.creates(text(made, 'schemaname'), text(made, 'relname'))
      const { sequence: _s, typevar: _t, ...rest } = node
      walk(facts, rest, '')
      return
    }
    if (text(node, 'renameType') === 'OBJECT_TABLE' || text(node, 'renameType') === 'OBJECT_VIEW')
      facts.created.add(text(node, 'newname'))
  }
  walk(facts, node, '')
}

/**
 * A role may give itself a password and settings: then the person would hold a way in that is not the gateway's, or choose
 * what the next connection begins with.
 */
function refuseRole(role: Tree | undefined): string | null {
  const own = role !== undefined && /^ROLESPEC_(?:CURRENT|SESSION)_/.test(text(role, 'roletype'))
  if (!own && !text(role ?? {}, 'rolename').startsWith(leasePrefix)) return null
  return 'the role of this session belongs to the gateway: alter other roles by name, and use SET for what holds for this connection'
}

/** Names in plain lists (DROP, COMMENT) may not exist: then the server says so, and nothing is hidden. */
function touch(facts: Facts, schema: string, name: string, type: string): void {
  const missing = facts.unknownRelation
  facts.relation(schema, name, 'write')
  if (type === 'DropStmt') facts.unknownRelation = missing
}

const readKeys = new Set(['pktable', 'inhRelations'])

/** Walks a statement of no query kind: relations, functions, types and queries wherever they are. */
function walk(facts: Facts, value: unknown, key: string): void {
  if (Array.isArray(value)) {
    for (const item of value) walk(facts, item, key)
    return
  }
  if (!isTree(value)) return
  if (typeof value.relname === 'string') {
    facts.relation(text(value, 'schemaname'), value.relname, readKeys.has(key) ? 'read' : 'write')
    return
  }
  for (const inner in value) {
    const part = value[inner]
    if (!isNodeName(inner)) {
      walk(facts, part, inner)
      continue
    }
    if (!knownNodes.has(inner)) {
      facts.atLeast('unknown')
      facts.open(`the construct ${inner} is not known`)
    }
    if (!isTree(part)) continue
    if (inner === 'SelectStmt') {
      for (const c of bindSelect(facts, part, undefined, undefined))
        if (c.origin !== null) facts.use(c.origin, 'definition')
    } else if (/^(Insert|Update|Delete|Merge)Stmt$/.test(inner)) bindDml(facts, inner, part, undefined)
    else if (inner === 'TableLikeClause') walk(facts, part.relation, 'pktable')
    else if (inner === 'FuncCall' || inner === 'TypeCast' || inner === 'A_Expr') {
      // columns of the object itself stay unresolved: a relation that is masked is refused as a whole
      callsIn(facts, { [inner]: part })
    } else walk(facts, part, readKeys.has(key) ? key : '')
  }
  if (Array.isArray(value.names) && 'typemod' in value) {
    const name = words(list(value, 'names'))
    facts.type(name.length > 1 ? (name.at(-2) ?? '') : '', name.at(-1) ?? '')
  }
}

function callsIn(facts: Facts, node: Tree): void {
  const anything = {
    parent: undefined,
    sources: [{ alias: '', schema: null, columns: openColumns, oid: null, derived: false }],
  }
  expression(facts, node, anything, undefined, 'definition')
}
