import type { Problem } from '../problem.ts'
import type { Scope } from './scope.ts'
import { rowOf, type Term } from './tree.ts'

const most = 200

/** What the lints found, each once. */
export class Findings {
  readonly #found = new Map<string, Problem>()

  add(code: string, term: Term, scope: Scope, message: string): void {
    const problem = { code, file: scope.module.file, line: rowOf(term), message }
    if (!this.full) this.#found.set(JSON.stringify(problem), problem)
  }

  /** Nothing more is taken: who still looks can stop. */
  get full(): boolean {
    return this.#found.size >= most
  }

  /** In the order of files and lines. */
  list(): Problem[] {
    return [...this.#found.values()].sort((a, b) =>
      a.file === b.file ? (a.line ?? 0) - (b.line ?? 0) : (a.file ?? '') < (b.file ?? '') ? -1 : 1,
    )
  }
}
