import { isDeepStrictEqual } from 'node:util'
import type { Gate, Verdict } from '../../gateway/protocol.ts'
import type { ActionFacts } from '../../policy/points.ts'
import { Holding } from './holding.ts'
import { errorResponse } from './messages.ts'
import { type EmptyPath, leavesPath, OtherPath } from './other-path.ts'
import type { Running } from './pending.ts'
import type { Portal, Prepared } from './prepared.ts'
import type { Analyzer, Catalog, ConnectionNames, FitPlan, MaskPlan, MessageNames, Statement } from './sql/contract.ts'

/** What the SQL side gives a connection. */
export interface SqlSide {
  readonly analyzer: Analyzer
  readonly names: ConnectionNames
  readonly catalog: Catalog
  readonly fitPlan: FitPlan
  readonly withoutLiterals: (sql: string) => string
  readonly emptyPath: EmptyPath
}

export type Judged =
  | {
      readonly kind: 'run'
      readonly running: readonly Running[]
      readonly prepared: Prepared | null
      readonly verdict?: Verdict
    }
  /** An ErrorResponse of ours, recorded. */
  | { readonly kind: 'refused'; readonly error: Buffer }
  /** The catalog must be looked at first, or approvers answer; then ask again. */
  | { readonly kind: 'wait'; readonly until: Promise<unknown> }

type Phase = 'query' | 'parse' | 'execute'

const maxText = 1024 * 1024
const frozenAction = new WeakMap<Statement, readonly ActionFacts[]>()

/** Turns text into decided statements: PostgreSQL's grammar, then policy, then the masking plan. All or nothing (PG1). */
export class Judge {
  readonly #sql: SqlSide
  readonly #gate: Gate
  readonly #messages: MessageNames
  /** Fitted to the rules and the catalog of `fittedTo`. */
  plan: MaskPlan
  fittedTo = 0
  /** Fits the plan again. @returns why it cannot be. */
  refit: () => string | undefined = () => undefined
  readonly path: OtherPath
  readonly holding: Holding
  #refreshedFor: string | null = null
  #refreshNext = false
  #unread = false

  constructor(sql: SqlSide, gate: Gate, plan: MaskPlan, messages: MessageNames) {
    this.#sql = sql
    this.#gate = gate
    this.plan = plan
    this.fittedTo = this.catalogVersion
    this.#messages = messages
    this.path = new OtherPath(sql.emptyPath, messages)
    this.holding = new Holding(gate)
  }

  get catalogVersion(): number {
    return this.#sql.catalog.current()?.version ?? 0
  }

  /** A statement of this connection changed what names mean: the next one is judged with a fresh catalog. */
  catalogChanged(): void {
    this.#sql.catalog.stale()
    this.#refreshNext = true
  }

  query(sql: string): Judged {
    return this.#text(sql, 'query')
  }

  parse(sql: string): Judged {
    return this.#text(sql, 'parse')
  }

  /** Each Execute is decided again, under the revision, the rules and the catalog of now (PG2, PG17). */
  execute(portal: Portal): Judged {
    if (this.#refreshNext) return this.#refresh()
    const { prepared } = portal
    if (prepared.statement === null) return { kind: 'run', running: [], prepared: null }
    const { sql } = prepared
    const moved = prepared.catalog !== this.catalogVersion
    if (sql !== null && (moved || this.path.moved || prepared.statement.control.kind !== 'none')) {
      const again = this.#analyze(sql)
      if (again.kind !== 'statements') return again
      return this.#decide(again.statements, again.texts, 'execute', sql, portal)
    }
    // the plan of an open cursor is fixed, and so is what it was judged as
    if ((moved || this.path.moved) && portal.cursor === null)
      return refused(
        '26000',
        'what names mean changed since this statement was prepared',
        'postgres.prepared',
        'prepare it again',
      )
    return this.#decide([prepared.statement], [sql ?? prepared.text], 'execute', sql, portal)
  }

  /** The target has closed a cursor (null: all), and no statement is under way. */
  closed(name: string | null): void {
    this.#sql.names.closed(name)
  }

  /** DISCARD ALL is done, and nothing is under way. */
  discarded(): void {
    this.#sql.names.discarded()
  }

  /** Nothing is under way, and no transaction is open. */
  settled(): void {
    this.#sql.names.settled()
  }

  /** What SQL's PREPARE defined, for a Bind that names it. */
  preparedBySql(name: string): Prepared | undefined {
    const statement = this.#sql.names.prepared(name)
    if (statement === undefined) return undefined
    return {
      sql: null,
      text: `prepared statement ${JSON.stringify(name)}`,
      statement,
      catalog: this.catalogVersion,
      asks: true,
    }
  }

  /** A message that is refused whatever it holds. */
  refuse(rule: string, sqlstate: string, message: string, hint: string): Buffer {
    this.#gate.refuse({ rule, message, text: null })
    return errorResponse('ERROR', sqlstate, message, `rule ${rule} of the gateway`, hint)
  }

  #text(sql: string, phase: Phase): Judged {
    if (this.#refreshNext) return this.#refresh()
    const analysis = this.#analyze(sql)
    if (analysis.kind !== 'statements') return analysis
    return this.#decide(analysis.statements, analysis.texts, phase, sql, null)
  }

  #analyze(sql: string) {
    const analysis = this.#sql.analyzer.analyze(sql, this.#sql.names.created)
    if (!analysis.ok) {
      this.#gate.refuse({ rule: 'postgres.grammar', message: analysis.message, text: this.#clean(sql) })
      return refused(analysis.sqlstate, analysis.message, 'postgres.grammar', 'correct the statement')
    }
    if (analysis.unknownRelation && this.#refreshedFor !== sql) {
      this.#refreshedFor = sql
      return this.#refresh()
    }
    this.#refreshedFor = null
    return { kind: 'statements' as const, statements: analysis.statements, texts: analysis.texts }
  }

  /** A catalog that cannot be read judges nothing: the statement is refused, and the next one tries again. */
  #refresh(): Judged {
    if (this.#unread) {
      this.#unread = false
      return refused(
        '57P03',
        'the catalog of the target cannot be read now',
        'postgres.catalog',
        'try again in a moment',
      )
    }
    const until = this.#sql.catalog.refresh().then(
      () => (this.#refreshNext = false),
      () => (this.#unread = this.#refreshNext = true),
    )
    return { kind: 'wait', until }
  }

  #decide(
    found: readonly Statement[],
    texts: readonly string[],
    phase: Phase,
    sql: string | null,
    portal: Portal | null,
  ): Judged {
    if (this.fittedTo !== this.catalogVersion) {
      const why = this.refit()
      if (why !== undefined)
        return refused('57P03', `the masking rules no longer fit the database: ${why}`, 'masking', 'connect again')
    }
    const plan = this.plan
    const parameters = portal?.parameters ?? null
    const running: Running[] = []
    let actions: ActionFacts[] | readonly ActionFacts[] = []
    let refusal: { readonly rule: string; readonly message: string; readonly absent?: true } | null = null
    let text = ''
    let bare = true
    for (let i = 0; i < found.length; i++) {
      const raw = texts[i]!
      const statement = this.#sql.names.resolve(found[i]!, raw, this.#messages)
      const judgement = plan.judge(statement)
      const clean = statement.secret || !judgement.ok || judgement.touches
      if (clean) bare = false
      const shown = clean ? this.#clean(raw) : raw
      text = i === 0 ? shown : `${text};\n${shown}`
      if (found.length === 1) actions = actionsOf(statement)
      else (actions as ActionFacts[]).push(statement.action)
      if (statement.refusal !== null) refusal ??= { rule: 'postgres.refused', message: statement.refusal }
      else if (!judgement.ok && statement.missing !== null)
        refusal ??= { rule: 'masking', message: `relation "${statement.missing}" does not exist`, absent: true }
      else if (!judgement.ok) refusal ??= { rule: 'masking', message: judgement.reason }
      else running.push({ statement, judgement })
    }
    for (const other of sql === null ? [] : this.path.read(sql, found, texts)) {
      if (!actions.some(action => isDeepStrictEqual(action, other.action))) actions = [...actions, other.action]
      if (other.refusal !== null) refusal ??= { rule: 'postgres.refused', message: other.refusal }
    }
    if (!plan.empty && found.some(leavesPath))
      refusal ??= {
        rule: 'postgres.path',
        message: 'where columns are masked, search_path stays as it is: write the names of schemas out',
      }
    if (text.length > maxText) text = `${text.slice(0, maxText)}… (${text.length} characters)`
    const extra = phase === 'execute' ? { phase, ...(bare && parameters !== null ? { parameters } : {}) } : { phase }
    if (!bare && this.#gate.settings.originals === 'sealed')
      this.#gate.recordOriginal('statement', { phase, text: texts.join(';\n').slice(0, maxText), parameters })
    const shown = bare && this.#gate.settings.level === 'full' ? parameters : null
    const verdict = this.holding.judge(
      { actions, text, parameters: shown, unread: shown === null ? 0 : (portal?.unread ?? 0), hidden: !bare },
      { text, extra },
      { prepares: phase === 'parse' || refusal !== null, under: portal?.released },
    )
    if (verdict instanceof Promise) return { kind: 'wait', until: verdict }
    if (!verdict.allowed) return { kind: 'refused', error: this.holding.denial(verdict) }
    if (refusal !== null) {
      this.#gate.refuse({ rule: refusal.rule, message: refusal.message, text })
      // as the target would have said it: which relations exist is no secret, pg_class tells it to everybody
      if (refusal.absent === true) return { kind: 'refused', error: errorResponse('ERROR', '42P01', refusal.message) }
      return refused('42501', refusal.message, refusal.rule, '')
    }
    if (phase !== 'parse') this.path.sent(found)
    const first = running[0]?.statement ?? null
    const asks = verdict.decision?.effect === 'ask'
    const prepared = phase === 'parse' ? { sql, text, statement: first, catalog: this.catalogVersion, asks } : null
    return { kind: 'run', running, prepared, verdict }
  }

  #clean(sql: string): string {
    return this.#sql.withoutLiterals(sql.length > maxText ? sql.slice(0, maxText) : sql)
  }
}

function actionsOf(statement: Statement): readonly ActionFacts[] {
  let actions = frozenAction.get(statement)
  if (actions === undefined) frozenAction.set(statement, (actions = [statement.action]))
  return actions
}

function refused(sqlstate: string, message: string, rule: string, hint: string): Judged {
  return { kind: 'refused', error: errorResponse('ERROR', sqlstate, message, `rule ${rule} of the gateway`, hint) }
}
