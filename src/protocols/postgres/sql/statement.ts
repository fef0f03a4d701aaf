import type { Statement } from './contract.ts'
import { bindDml } from './dml.ts'
import type { Binder, Draft } from './draft.ts'
import { expression } from './expression.ts'
import { Facts, type NameContext, Unfollowable } from './facts.ts'
import { type Columns, openColumns } from './scope.ts'
import { bindInto, bindSelect, outputsOf } from './select.ts'
import { sessionBinders } from './session.ts'
import { flag, list, type Tree, text, tree, unwrap, words } from './tree.ts'
import { bindUtility, utilities } from './utility.ts'

export interface Analyzed {
  readonly statement: Statement
  /** Neither a literal nor this connection's own tables had a part in it: it holds for every text of its shape. */
  readonly reusable: boolean
  readonly unknownRelation: boolean
}

/** One statement of the parser's tree. Never throws: what cannot be followed is refused. */
export function analyzeStatement(node: Tree, names: NameContext): Analyzed {
  const facts = new Facts(names)
  const draft: Draft = {
    kind: 'unknown',
    control: { kind: 'none' },
    refusal: null,
    facts: {},
    columns: [],
    changesCatalog: false,
    secret: false,
  }
  try {
    const [type, body] = unwrap(node)
    bindStatement(facts, draft, type, body)
  } catch (fault) {
    facts.atLeast('unknown')
    facts.literalMatters = true
    const why =
      fault instanceof Unfollowable
        ? fault.message
        : fault instanceof RangeError
          ? 'it is nested too deeply'
          : 'it could not be followed'
    draft.refusal = `the statement was refused because ${why}; split it into simpler ones`
  }
  if (facts.locking) draft.facts.locking = true
  if (facts.unfiltered) draft.facts.unfiltered = true
  if (facts.sets.size > 0) {
    if (draft.kind === 'select') draft.facts.sets = [...facts.sets].sort()
    else facts.setsLater()
    draft.refusal ??= facts.refusal
  }
  return {
    statement: statementOf(facts, draft),
    reusable: !facts.literalMatters && !facts.contextMatters && !facts.unknownRelation,
    unknownRelation: facts.unknownRelation,
  }
}

const dmlKinds: Readonly<Record<string, string>> = {
  InsertStmt: 'insert',
  UpdateStmt: 'update',
  DeleteStmt: 'delete',
  MergeStmt: 'merge',
}

function bindStatement(facts: Facts, draft: Draft, type: string, node: Tree): void {
  const dml = dmlKinds[type]
  if (dml !== undefined) {
    draft.kind = dml
    draft.columns = bindDml(facts, type, node, undefined)
    return
  }
  if (type === 'SelectStmt') {
    const into = node.intoClause !== undefined
    draft.kind = into ? 'select_into' : 'select'
    draft.changesCatalog = into
    draft.columns = bindSelect(facts, node, undefined, undefined)
    if (into) draft.columns = []
    return
  }
  facts.literalMatters = true
  const bind = special[type]
  if (bind !== undefined) {
    bind(facts, draft, node)
    return
  }
  const utility = utilities[type]
  if (utility === undefined) {
    facts.atLeast('unknown')
    draft.refusal = `this build does not know the statement ${type || '(unnamed)'}`
    return
  }
  facts.atLeast(utility.verb)
  draft.kind = utility.kind
  draft.changesCatalog = utility.verb !== 'session' && utility.verb !== 'read'
  bindUtility(facts, draft, type, node)
}

function inner(draft: Draft, facts: Facts, node: Tree): { statement: Statement; columns: Columns } {
  const part: Draft = { ...draft, kind: 'unknown', control: { kind: 'none' }, facts: {}, columns: [] }
  const [type, body] = unwrap(node)
  bindStatement(facts, part, type, body)
  // set_config where it runs later, or more often than this connection sees
  if (facts.sets.size > 0) facts.setsLater()
  draft.refusal ??= part.refusal
  draft.changesCatalog ||= part.changesCatalog
  return { statement: statementOf(facts, part), columns: part.columns }
}

function statementOf(facts: Facts, draft: Draft): Statement {
  return {
    action: facts.action(draft.kind, draft.facts),
    refusal: draft.refusal,
    control: draft.control,
    changesCatalog: draft.changesCatalog,
    creates: [...facts.created],
    secret: draft.secret,
    path: facts.path,
    missing: facts.missing,
    columns: facts.columns(outputsOf(draft.columns)),
  }
}

/** CURSOR_OPT_HOLD of PostgreSQL's parsenodes.h. */
const cursorOptionHold = 0x0020

const special: Readonly<Record<string, Binder>> = {
  ExplainStmt(facts, draft, node) {
    const options = list(node, 'options').map(o => unwrap(o)[1])
    const analyze = options.some(o => text(o, 'defname') === 'analyze' && isOn(tree(o, 'arg')))
    draft.kind = 'explain'
    const { statement } = inner(draft, facts, tree(node, 'query') ?? {})
    draft.changesCatalog &&= analyze
    draft.facts = { analyze, explained: statement.action.kind }
    draft.columns = openColumns
    if (!analyze) facts.plans()
    facts.atLeast('read')
    if (!analyze) facts.created.clear()
  },
  PrepareStmt(facts, draft, node) {
    draft.kind = 'prepare'
    expression(facts, node.argtypes, { parent: undefined, sources: [] }, undefined, 'expression')
    const { statement } = inner(draft, facts, tree(node, 'query') ?? {})
    draft.control = { kind: 'prepare', name: text(node, 'name'), inner: statement }
    draft.facts = { prepared: statement.action.kind }
    draft.changesCatalog = false
    facts.created.clear()
  },
  ExecuteStmt(facts, draft, node) {
    draft.kind = 'execute'
    expression(facts, node.params, { parent: undefined, sources: [] }, undefined, 'expression')
    draft.control = { kind: 'execute', name: text(node, 'name'), verb: facts.verb }
    facts.atLeast('unknown') // until ConnectionNames.resolve finds what it runs
    draft.columns = openColumns
  },
  DeallocateStmt(_facts, draft, node) {
    draft.kind = 'deallocate'
    draft.control = { kind: 'deallocate', name: flag(node, 'isall') ? null : text(node, 'name') }
  },
  DeclareCursorStmt(facts, draft, node) {
    draft.kind = 'declare'
    const { statement } = inner(draft, facts, tree(node, 'query') ?? {})
    const held = typeof node.options === 'number' && (node.options & cursorOptionHold) !== 0
    draft.control = { kind: 'declare', name: text(node, 'portalname'), inner: statement, held }
  },
  FetchStmt(facts, draft, node) {
    draft.kind = flag(node, 'ismove') ? 'move' : 'fetch'
    facts.atLeast('read')
    draft.control = { kind: 'fetch', name: text(node, 'portalname') }
    draft.columns = openColumns
  },
  ClosePortalStmt(_facts, draft, node) {
    draft.kind = 'close'
    draft.control = { kind: 'close', name: text(node, 'portalname') || null }
  },
  CreateTableAsStmt(facts, draft, node) {
    const view = node.objtype === 'OBJECT_MATVIEW'
    draft.kind = view ? 'create_materialized_view' : 'create_table_as'
    draft.changesCatalog = true
    const { columns } = inner(draft, facts, tree(node, 'query') ?? {})
    bindInto(facts, tree(node, 'into') ?? {}, columns)
  },
  ViewStmt(facts, draft, node) {
    draft.kind = 'create_view'
    draft.changesCatalog = true
    facts.atLeast('ddl')
    const view = tree(node, 'view') ?? {}
    facts.creates(text(view, 'schemaname'), text(view, 'relname'))
    const { columns } = inner(draft, facts, tree(node, 'query') ?? {})
    for (const c of columns) if (c.origin !== null) facts.use(c.origin, 'definition')
  },
  CopyStmt(facts, draft, node) {
    const relation = tree(node, 'relation')
    const query = tree(node, 'query')
    const inward = flag(node, 'is_from')
    const file = text(node, 'filename') !== ''
    const program = flag(node, 'is_program')
    draft.kind = program ? 'copy_program' : file ? 'copy_file' : inward ? 'copy_from' : 'copy_to'
    facts.atLeast(program || file ? 'admin' : inward ? 'write' : 'read')
    draft.facts = { direction: inward ? 'from' : 'to' }
    if (!program && !file) draft.control = { kind: 'copy', direction: inward ? 'in' : 'out' }
    if (query !== undefined) {
      const { columns } = inner(draft, facts, query)
      for (const c of columns) if (c.origin !== null) facts.use(c.origin, 'copied')
    }
    if (relation === undefined) return
    const found = facts.relation(text(relation, 'schemaname'), text(relation, 'relname'), inward ? 'write' : 'read')
    const listed = words(list(node, 'attlist'))
    const shown = found?.columns.filter(c => listed.length === 0 || listed.includes(c.name)) ?? []
    if (!inward) for (const c of shown) facts.use({ oid: found!.oid, attnum: c.attnum }, 'copied')
    const columns =
      found?.columns.map(c => ({ name: c.name, origin: { oid: found.oid, attnum: c.attnum } })) ?? openColumns
    expression(
      facts,
      node.whereClause,
      {
        parent: undefined,
        sources: [{ alias: text(relation, 'relname'), schema: null, columns, oid: found?.oid ?? null, derived: false }],
      },
      undefined,
      'predicate',
    )
  },
  ...sessionBinders,
}

function isOn(argument: Tree | undefined): boolean {
  if (argument === undefined) return true
  const [type, body] = unwrap(argument)
  const word =
    type === 'String'
      ? text(body, 'sval')
      : type === 'Boolean'
        ? String(body.boolval === true)
        : type === 'Integer'
          ? String(body.ival ?? 0)
          : ''
  return !/^(off|false|no|0)$/i.test(word)
}
