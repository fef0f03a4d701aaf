import { type Bounds, Together } from '../../../together.ts'
import { Unreadable } from './git.ts'
import type { Changed } from './paths.ts'
import type { Questions } from './questions.ts'

/** Files of before that are fetched for one update. */
const mostFiles = 2_000
/** So often a target is asked for files that it does not give. */
const mostDenials = 8

/** Brings files of before from the target into the quarantine; `false`: they are not to be had. */
export type FetchFiles = (ids: readonly string[]) => Promise<boolean>

/** A mirror has no files: those of both sides of a change are fetched where their lines are counted or looked at. */
export class Files {
  readonly #questions: Questions
  readonly #fetch: FetchFiles
  readonly #missing: Together<readonly string[], boolean>
  /** Answers of the target that had no files. */
  #denials = 0

  constructor(questions: Questions, fetch: FetchFiles, how: Bounds) {
    this.#questions = questions
    this.#fetch = fetch
    this.#missing = new Together(all => this.#bring(all), how)
  }

  /** @returns whether they are all here. */
  async have(paths: readonly Changed[]): Promise<boolean> {
    const ids = new Set(
      paths
        .filter(each => each.type !== 'submodule')
        .flatMap(each => [...each.before, ...(each.after ?? '').split(' ')]),
    )
    ids.delete('')
    const known = await this.#questions.describe(ids)
    const missing = [...ids].filter(id => !known.has(id))
    if (missing.length === 0) return true
    if (missing.length > mostFiles) return false
    return this.#missing.ask(missing).catch(() => false)
  }

  async #bring(all: readonly (readonly string[])[]): Promise<readonly boolean[]> {
    const ids = [...new Set(all.flat())]
    if (this.#denials < mostDenials && (ids.length <= mostFiles || all.length === 1)) {
      if (await this.#fetch(ids)) return all.map(() => true)
      if (all.length === 1) this.#denials++
    }
    throw new Unreadable('files of before are not to be had')
  }
}
