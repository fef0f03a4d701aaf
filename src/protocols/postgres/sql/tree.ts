/** A node of the parser's tree: `{Type: {…}}` where a field may hold any node, `{…}` where its type is fixed. */
export type Tree = { readonly [key: string]: unknown }

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function tree(node: Tree, key: string): Tree | undefined {
  const value = node[key]
  return isTree(value) ? value : undefined
}

export function list(node: Tree, key: string): readonly Tree[] {
  const value = node[key]
  return Array.isArray(value) ? value.filter(isTree) : []
}

export function text(node: Tree, key: string): string {
  const value = node[key]
  return typeof value === 'string' ? value : ''
}

export const flag = (node: Tree, key: string): boolean => node[key] === true

/** `{SelectStmt: {…}}` → ['SelectStmt', {…}]. Anything that is not one known wrapper gives the type `''`. */
export function unwrap(node: Tree | undefined): readonly [string, Tree] {
  if (node === undefined) return ['', {}]
  const keys = Object.keys(node)
  const key = keys[0]
  if (keys.length !== 1 || key === undefined || !isNodeName(key)) return ['', node]
  const body = node[key]
  return isTree(body) ? [key, body] : ['', node]
}

/** Names of nodes begin with a capital, names of fields never do. */
export const isNodeName = (key: string): boolean => key.charCodeAt(0) >= 65 && key.charCodeAt(0) <= 90

/** The words of a list of String nodes, such as a qualified name. A `*` ends as '*'. */
export function words(nodes: readonly Tree[]): string[] {
  return nodes.map(node => {
    const [type, body] = unwrap(node)
    if (type === 'String') return text(body, 'sval')
    return type === 'A_Star' ? '*' : ''
  })
}

/** An integer constant's value; the parser leaves zero out. */
export function integerConstant(node: Tree | undefined): number | undefined {
  const [type, body] = unwrap(node)
  if (type !== 'A_Const' || !isTree(body.ival)) return undefined
  return typeof body.ival.ival === 'number' ? body.ival.ival : 0
}

export function stringConstant(node: Tree | undefined): string | undefined {
  const [type, body] = unwrap(node)
  if (type === 'TypeCast') return stringConstant(tree(body, 'arg'))
  return type === 'A_Const' && isTree(body.sval) ? text(body.sval, 'sval') : undefined
}

/**
 * INVARIANT: a node type that is not listed makes the statement `unknown`. The list is what raw trees of PostgreSQL 18's
 * grammar hold; nodes of later stages (Query, Var, OpExpr, …) never come from text and stay out.
 */
export const knownNodes: ReadonlySet<string> = new Set(
  (
    'Integer Float Boolean String BitString List A_Const Alias RangeVar IntoClause GroupingFunc MergeSupportFunc ' +
    'NamedArgExpr BoolExpr SubLink CaseExpr CaseWhen RowExpr CoalesceExpr MinMaxExpr SQLValueFunction XmlExpr ' +
    'JsonFormat JsonReturning JsonValueExpr JsonIsPredicate JsonBehavior NullTest BooleanTest SetToDefault CurrentOfExpr ' +
    'JoinExpr TypeName ColumnRef ParamRef A_Expr TypeCast CollateClause RoleSpec FuncCall A_Star A_Indices A_Indirection ' +
    'A_ArrayExpr ResTarget MultiAssignRef SortBy WindowDef RangeSubselect RangeFunction RangeTableFunc RangeTableFuncCol ' +
    'RangeTableSample ColumnDef TableLikeClause IndexElem DefElem LockingClause XmlSerialize PartitionElem PartitionSpec ' +
    'PartitionBoundSpec PartitionCmd GroupingSet WithClause InferClause OnConflictClause CTESearchClause CTECycleClause ' +
    'CommonTableExpr MergeWhenClause ReturningOption ReturningClause TriggerTransition JsonOutput JsonArgument JsonFuncExpr ' +
    'JsonTablePathSpec JsonTable JsonTableColumn JsonKeyValue JsonParseExpr JsonScalarExpr JsonSerializeExpr ' +
    'JsonObjectConstructor JsonArrayConstructor JsonArrayQueryConstructor JsonAggConstructor JsonObjectAgg JsonArrayAgg ' +
    'RawStmt InsertStmt DeleteStmt UpdateStmt MergeStmt SelectStmt CreateSchemaStmt AlterTableStmt AlterTableCmd ' +
    'ATAlterConstraint ReplicaIdentityStmt AlterCollationStmt AlterDomainStmt GrantStmt ObjectWithArgs AccessPriv GrantRoleStmt ' +
    'AlterDefaultPrivilegesStmt CopyStmt VariableSetStmt VariableShowStmt CreateStmt Constraint CreateTableSpaceStmt ' +
    'DropTableSpaceStmt AlterTableSpaceOptionsStmt AlterTableMoveAllStmt CreateExtensionStmt AlterExtensionStmt ' +
    'AlterExtensionContentsStmt CreateFdwStmt AlterFdwStmt CreateForeignServerStmt AlterForeignServerStmt ' +
    'CreateForeignTableStmt CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt ImportForeignSchemaStmt ' +
    'CreatePolicyStmt AlterPolicyStmt CreateAmStmt CreateTrigStmt CreateEventTrigStmt AlterEventTrigStmt CreatePLangStmt ' +
    'CreateRoleStmt AlterRoleStmt AlterRoleSetStmt DropRoleStmt CreateSeqStmt AlterSeqStmt DefineStmt CreateDomainStmt ' +
    'CreateOpClassStmt CreateOpClassItem CreateOpFamilyStmt AlterOpFamilyStmt DropStmt TruncateStmt CommentStmt SecLabelStmt ' +
    'DeclareCursorStmt ClosePortalStmt FetchStmt IndexStmt CreateStatsStmt StatsElem AlterStatsStmt CreateFunctionStmt ' +
    'FunctionParameter AlterFunctionStmt DoStmt CallStmt RenameStmt AlterObjectDependsStmt AlterObjectSchemaStmt AlterOwnerStmt ' +
    'AlterOperatorStmt AlterTypeStmt RuleStmt NotifyStmt ListenStmt UnlistenStmt TransactionStmt CompositeTypeStmt ' +
    'CreateEnumStmt CreateRangeStmt AlterEnumStmt ViewStmt LoadStmt CreatedbStmt AlterDatabaseStmt ' +
    'AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt DropdbStmt AlterSystemStmt ClusterStmt VacuumStmt VacuumRelation ' +
    'ExplainStmt CreateTableAsStmt RefreshMatViewStmt CheckPointStmt DiscardStmt LockStmt ConstraintsSetStmt ReindexStmt ' +
    'CreateConversionStmt CreateCastStmt CreateTransformStmt PrepareStmt ExecuteStmt DeallocateStmt DropOwnedStmt ' +
    'ReassignOwnedStmt AlterTSDictionaryStmt AlterTSConfigurationStmt PublicationTable PublicationObjSpec ' +
    'CreatePublicationStmt AlterPublicationStmt CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt ReturnStmt'
  ).split(' '),
)
