import type { Binder, Draft } from './draft.ts'
import type { Facts } from './facts.ts'
import { openColumns } from './scope.ts'
import { refuseSetting } from './settings.ts'
import { flag, integerConstant, list, stringConstant, type Tree, text, tree, unwrap } from './tree.ts'

/** Statements that change or show the state of a connection. */
export const sessionBinders: Readonly<Record<string, Binder>> = {
  VariableSetStmt(facts, draft, node) {
    setVariable(facts, draft, node)
  },
  VariableShowStmt(facts, draft, node) {
    draft.kind = 'show'
    draft.columns = openColumns
    facts.atLeast('session')
    draft.facts = { variable: text(node, 'name').toLowerCase() }
  },
  DiscardStmt(facts, draft, node) {
    const target = text(node, 'target').replace('DISCARD_', '').toLowerCase()
    draft.kind = 'discard'
    draft.control = { kind: 'discard', all: target === 'all' }
    draft.facts = { target }
    draft.changesCatalog = target === 'all' || target === 'temp'
    if (target === 'all') facts.movesPath('initial')
  },
  TransactionStmt(facts, draft, node) {
    const verb = transactions[text(node, 'kind')] ?? 'two_phase'
    draft.kind = verb === 'two_phase' ? text(node, 'kind').replace('TRANS_STMT_', '').toLowerCase() : verb
    draft.control = { kind: 'transaction', verb }
    facts.atLeast(verb === 'two_phase' ? 'admin' : 'session')
    for (const option of list(node, 'options')) draft.refusal ??= refuseOption(draft, unwrap(option)[1])
  },
}

const transactions: Readonly<
  Record<string, 'begin' | 'commit' | 'rollback' | 'savepoint' | 'release' | 'rollback_to'>
> = {
  TRANS_STMT_BEGIN: 'begin',
  TRANS_STMT_START: 'begin',
  TRANS_STMT_COMMIT: 'commit',
  TRANS_STMT_ROLLBACK: 'rollback',
  TRANS_STMT_SAVEPOINT: 'savepoint',
  TRANS_STMT_RELEASE: 'release',
  TRANS_STMT_ROLLBACK_TO: 'rollback_to',
}

function setVariable(facts: Facts, draft: Draft, node: Tree): void {
  const kind = text(node, 'kind')
  const name = text(node, 'name')
  draft.kind = kind === 'VAR_RESET' || kind === 'VAR_RESET_ALL' ? 'reset' : 'set'
  if (kind === 'VAR_RESET_ALL') {
    // what is pinned is a startup parameter at the target: that is what a reset comes back to
    draft.facts = { variable: 'all' }
    facts.movesPath('initial')
    return
  }
  draft.facts = { local: flag(node, 'is_local'), variable: name.toLowerCase() }
  if (kind === 'VAR_SET_MULTI') {
    if (name === 'TRANSACTION SNAPSHOT') return
    for (const option of list(node, 'args')) draft.refusal ??= refuseOption(draft, unwrap(option)[1])
    return
  }
  const values = list(node, 'args')
  const value =
    kind === 'VAR_SET_VALUE' && values.length === 1
      ? (stringConstant(values[0]) ?? integerConstant(values[0])?.toString() ?? null)
      : null
  const back = kind === 'VAR_RESET' || kind === 'VAR_SET_DEFAULT'
  draft.refusal = refuseSetting(name, value, back)
  // SET LOCAL … TO DEFAULT is back for a transaction at most, and outside of one it does nothing
  if (name.toLowerCase() === 'search_path' && !(back && flag(node, 'is_local')))
    facts.movesPath(back ? 'initial' : 'empty')
}

/** BEGIN READ WRITE and SET TRANSACTION READ WRITE undo a read-only session (PG14). */
function refuseOption(draft: Draft, option: Tree): string | null {
  const name = text(option, 'defname')
  draft.facts = {
    ...draft.facts,
    [name]: stringConstant(tree(option, 'arg')) ?? integerConstant(tree(option, 'arg')) ?? 0,
  }
  if (name !== 'transaction_read_only' || integerConstant(tree(option, 'arg')) === 1) return null
  return 'READ WRITE would undo a read-only session: leave it out, a session that may write can do so without it'
}
