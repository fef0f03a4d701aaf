import type { Analyzer, ConnectionNames, MessageNames, Statement } from './sql/contract.ts'

export interface EmptyPath {
  /** Looks names up where an empty search_path does. */
  readonly analyzer: Analyzer
  readonly newNames: () => ConnectionNames
}

const nothing: readonly Statement[] = []

/**
 * The search_path that a connection began with, or the empty one: SQL may go from one to the other, and a transaction
 * that rolls back goes back as well.
 * INVARIANT: from the moment when it may be empty until the target has certainly gone back, each text is read both ways,
 * and both must be allowed. So nobody has to know which of the two holds (PG17).
 */
export class OtherPath {
  readonly #empty: EmptyPath
  readonly #messages: MessageNames
  #names: ConnectionNames
  #moved = false

  constructor(empty: EmptyPath, messages: MessageNames) {
    this.#empty = empty
    this.#names = empty.newNames()
    // what Parse defined was read one way only
    const statements = (name: string) => (messages.statements(name) === undefined ? undefined : nothing)
    this.#messages = { statements, portal: name => messages.portal(name) }
  }

  get moved(): boolean {
    return this.#moved
  }

  /** These statements are sent to the target. */
  sent(statements: readonly Statement[]): void {
    this.#moved ||= statements.some(leavesPath)
  }

  /** What the text means on the empty path as well; nothing where that cannot be its path. */
  read(sql: string, found: readonly Statement[], texts: readonly string[]): readonly Statement[] {
    if (!this.#moved && !found.some(leavesPath)) return nothing
    const analysis = this.#empty.analyzer.analyze(sql, this.#names.created)
    if (!analysis.ok) return nothing // as the other reading, which said so
    return analysis.statements.map((statement, i) => this.#names.resolve(statement, texts[i]!, this.#messages))
  }

  /** The target has certainly gone back to where the connection began. */
  restored(): void {
    this.#moved = false
    this.#names = this.#empty.newNames()
  }
}

export const leavesPath = (statement: Statement): boolean => statement.path === 'empty'
