import type { KeyObject } from 'node:crypto'
import type { Database } from '../../db/database.ts'
import { logger } from '../../log.ts'
import type { Engine } from '../engine.ts'
import { compile, type GateOptions } from '../gate.ts'
import { type Problem, problemText, Refused } from '../problem.ts'
import { GitMirror, type GitOptions } from '../repository/git.ts'
import { notice } from '../repository/notices.ts'
import { newestShadow, shadowReport, storeShadow } from './store.ts'

const log = logger('policy')
const toldGroups = 5

export interface ShadowSourceOptions {
  readonly database: Database
  /** The policy's source with the shadow's ref, and a folder of its own. */
  readonly git: GitOptions
  readonly gate: GateOptions
  readonly key: KeyObject
  readonly engine: Engine
}

/** Control's side of the shadow: looks at its ref, puts commits through the gate, and tells people what diverges. */
export class ShadowSource {
  readonly #options: ShadowSourceOptions
  readonly #mirror: GitMirror

  constructor(options: ShadowSourceOptions) {
    this.#options = options
    this.#mirror = new GitMirror(options.git)
  }

  /** Looks once. @throws SallyportError where the repository cannot be read; what is weighed goes on. */
  async poll(): Promise<void> {
    const { database, gate, key } = this.#options
    const seen = await this.#mirror.remoteHead()
    if (seen === (await newestShadow(database.db))?.commit) return
    const commit = await this.#mirror.fetch()
    try {
      await this.#mirror.verify(commit.commit) // what nobody signed is not even compiled, as on the tracked ref
      const { bundle } = await compile(await this.#mirror.read(commit.commit), gate)
      const number = await storeShadow(database, key, commit, { bundle })
      log.info({ shadow: number, commit: commit.commit }, 'a shadow policy is weighed beside the active one')
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      const number = await storeShadow(database, key, commit, { problems: error.problems })
      log.warn({ shadow: number, commit: commit.commit }, 'a shadow policy was refused by the gate')
      await this.#tell(`refused ${number}`, refusedText(commit.commit, error.problems))
    }
  }

  /** Tells when divergences were found, and again each time that there are ten times as many. */
  async report(): Promise<void> {
    const { database, engine } = this.#options
    const generation = engine.revision?.generation
    const found = generation === undefined ? undefined : await shadowReport(database.db, generation, toldGroups)
    if (found === undefined || found.groups.length === 0) return
    const { shadow, counts, groups } = found
    const size = String(Math.floor(counts.diverged)).length
    const lines = groups.map(
      group =>
        `${group.count} × ${group.change}: ${group.subject?.name ?? 'the system'}${group.resource === null ? '' : ` on ${group.resource}`} at ${group.point}, by ${rulesOf(group)}`,
    )
    const head = `The shadow policy ${shadow.commit.slice(0, 12)} would decide ${counts.diverged} of ${counts.judged} questions differently (nothing is enforced by it):`
    await this.#tell(
      `diverged ${shadow.number} ${generation} ${size}`,
      [head, ...lines, 'All of it: sallyport policy shadow'].join('\n'),
    )
  }

  async #tell(key: string, message: string): Promise<void> {
    await this.#options.database.db.transaction(tx => notice(tx, `shadow ${key}`, message))
  }
}

function rulesOf(group: {
  before: { reasons: readonly { rule: string }[] }
  after: { reasons: readonly { rule: string }[] }
}): string {
  const reasons = group.after.reasons.length > 0 ? group.after.reasons : group.before.reasons
  return reasons.map(reason => reason.rule).join(', ') || 'no rule'
}

function refusedText(commit: string, problems: readonly Problem[]): string {
  const [first] = problems
  return `The shadow policy ${commit.slice(0, 12)} does not pass the gate and is not weighed: ${first === undefined ? 'unknown' : problemText(first)}${problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''}`
}
