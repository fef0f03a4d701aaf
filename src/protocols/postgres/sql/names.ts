import type { ColumnUse, ConnectionNames, MessageNames, Statement } from './contract.ts'
import { weight } from './facts.ts'

const maxNames = 1000
const maxText = 16 * 1024 * 1024
const maxCreated = 10_000
/** A DECLARE that fails leaves the cursor that was there: a FETCH is judged as each of the last few. */
const maxMeanings = 8

/**
 * INVARIANT: an EXECUTE is judged as the statement that the server holds under that name. Whether a PREPARE or DEALLOCATE
 * succeeded is known only later, so a name is never given a second meaning: preparing another text under it is refused.
 */
export function createNames(): ConnectionNames {
  const prepared = new Map<string, { readonly text: string; readonly statement: Statement }>()
  let preparedText = 0
  const cursors = new Map<string, { readonly meanings: readonly Statement[]; readonly held: boolean }>()
  const created = new Set<string>()

  function resolve(statement: Statement, text: string, messages: MessageNames): Statement {
    const { control } = statement
    if (statement.creates.length > 0) {
      for (const name of statement.creates) created.add(name)
      if (created.size > maxCreated)
        return refused(statement, 'this connection created too many relations: open a new one')
    }
    if (control.kind === 'prepare') {
      const before = prepared.get(control.name)
      if (before !== undefined && before.text !== text)
        return refused(
          statement,
          `the name ${control.name} was used for another statement on this connection: choose a new name`,
        )
      if (messages.statements(control.name) !== undefined)
        return refused(
          statement,
          `the name ${control.name} belongs to a statement of the extended protocol: choose a new name`,
        )
      if (before === undefined && (prepared.size >= maxNames || preparedText + text.length > maxText))
        return refused(statement, 'too many prepared statements on this connection: open a new one')
      if (before === undefined) preparedText += text.length
      prepared.set(control.name, { text, statement: control.inner })
      return statement
    }
    if (control.kind === 'declare') {
      const { name, inner } = control
      const before = cursors.get(name)
      if (before === undefined && cursors.size >= maxNames)
        return refused(statement, 'too many open cursors on this connection: CLOSE some first')
      const meanings = [...(before?.meanings ?? []).filter(s => s !== inner), inner].slice(-maxMeanings)
      cursors.set(name, { meanings, held: control.held || before?.held === true })
      return statement
    }
    if (control.kind === 'fetch') {
      const meanings = cursors.get(control.name)?.meanings
      if (messages.portal(control.name))
        return refused(
          statement,
          `the portal ${control.name} was opened by a message: take its rows by Execute, or DECLARE a cursor`,
        )
      if (meanings === undefined)
        return refused(
          statement,
          `the cursor ${control.name} was not declared on this connection: DECLARE it here first`,
        )
      return {
        ...statement,
        columns: {
          ...merge(meanings.map(m => m.columns)),
          outputs: meanings.length === 1 ? meanings[0]!.columns.outputs : null,
        },
      }
    }
    if (control.kind === 'execute') {
      const own = prepared.get(control.name)?.statement
      const others = messages.statements(control.name)
      const inner = own ?? (others?.length === 1 ? others[0] : undefined)
      if (inner === undefined || (own !== undefined && others !== undefined))
        return refused(
          statement,
          `the prepared statement ${control.name} is not known on this connection: PREPARE it here first`,
        )
      return executed(statement, inner)
    }
    return statement
  }

  return {
    resolve,
    created,
    prepared: name => prepared.get(name)?.statement,
    closed(name) {
      if (name === null) cursors.clear()
      else cursors.delete(name)
    },
    discarded() {
      prepared.clear()
      preparedText = 0
      cursors.clear()
    },
    settled() {
      for (const [name, { held }] of cursors) if (!held) cursors.delete(name)
    },
  }
}

const refused = (statement: Statement, why: string): Statement => ({ ...statement, refusal: statement.refusal ?? why })

/** EXECUTE p(args): what p does, and what the arguments do. Its control is that of the statement behind it, bar PREPARE. */
function executed(execute: Statement, inner: Statement): Statement {
  const { action } = inner
  const verb =
    execute.control.kind === 'execute' && weight[execute.control.verb] > weight[action.verb]
      ? execute.control.verb
      : action.verb
  const functions = [
    ...action.functions,
    ...execute.action.functions.filter(f => !action.functions.some(g => g.schema === f.schema && g.name === f.name)),
  ]
  return {
    ...inner,
    action: { ...action, facts: { ...action.facts, executes: action.kind }, functions, kind: 'execute', verb },
    refusal: execute.refusal ?? inner.refusal,
    control: inner.control.kind === 'copy' ? inner.control : { kind: 'none' },
    columns: { ...merge([inner.columns, execute.columns]), outputs: inner.columns.outputs },
  }
}

const merge = (all: readonly ColumnUse[]): ColumnUse => ({
  outputs: null,
  uses: all.flatMap(c => c.uses),
  relations: all.flatMap(c => c.relations),
  open: all.flatMap(c => c.open),
  calls: all.flatMap(c => c.calls),
})
