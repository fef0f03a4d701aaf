import type { KeyObject } from 'node:crypto'
import type { AuditWriter } from '../audit/events.ts'
import { canonical, type Json } from '../canonical.ts'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { Bundle } from './bundle.ts'
import type { ActiveRevision } from './engine.ts'
import { type Compiled, compile, type GateOptions } from './gate.ts'
import { type Commit, GitMirror, type GitOptions } from './git.ts'
import { type Problem, problemText, Refused } from './problem.ts'
import { isResult } from './results.ts'
import { activate, compiledCandidate, newestRevision, recordRefusal } from './revision-store.ts'
import { sampleSubject } from './samples.ts'
import type { Sources } from './sources.ts'
import { timeFacts } from './time.ts'
import { Evaluator } from './wasm.ts'

const log = logger('policy')

export interface RepositoryOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly git: GitOptions
  readonly gate: GateOptions
  /** Control's private key for revisions. */
  readonly key: KeyObject
  /** The group that a first revision's `admin` point must allow. */
  readonly first_admins: string
  /** A revision is in force. */
  readonly onActivated?: (revision: ActiveRevision, commit: Commit) => void
  /** A commit did not pass; the last good one stays. */
  readonly onRefused?: (commit: string, problems: readonly Problem[]) => void
}

export type PollOutcome =
  | { readonly outcome: 'unchanged'; readonly commit: string }
  | { readonly outcome: 'activated'; readonly commit: string; readonly revision: ActiveRevision }
  | { readonly outcome: 'refused'; readonly commit: string; readonly problems: readonly Problem[] }

/** Control's side of the policy repository: looks at it, puts commits through the gate, and activates what passes. */
export class Repository {
  readonly #options: RepositoryOptions
  readonly #mirror: GitMirror
  #refused: { commit: string; problems: readonly Problem[] } | undefined
  #running: Promise<PollOutcome> | undefined

  constructor(options: RepositoryOptions) {
    this.#options = options
    this.#mirror = new GitMirror(options.git)
  }

  /** The commit that was refused last, until another one comes. */
  get refused(): { readonly commit: string; readonly problems: readonly Problem[] } | undefined {
    return this.#refused
  }

  /**
   * Looks once. Calls during a look share it.
   * @throws SallyportError `policy_unavailable` when the repository or `opa` cannot be used; nothing changes then.
   */
  poll(): Promise<PollOutcome> {
    this.#running ??= this.#poll().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #poll(): Promise<PollOutcome> {
    const { database, audit, key } = this.#options
    const seen = await this.#mirror.remoteHead()
    const active = await newestRevision(database.db)
    if (seen === active?.commit) {
      this.#refused = undefined
      return { outcome: 'unchanged', commit: seen }
    }
    if (seen === this.#refused?.commit) return { outcome: 'unchanged', commit: seen }
    const commit = await this.#mirror.fetch()
    try {
      const { bundle, sources } = await this.#compile(commit.commit)
      if (active === undefined) this.#demandFirstAdmins(bundle)
      const candidate = compiledCandidate(commit, bundle, sources, 'followed')
      const revision = await activate(
        { database, audit, key },
        candidate,
        async (_tx, newest) =>
          newest?.commit === commit.commit && newest.digest === candidate.digest ? ('unchanged' as const) : null,
        async () => {},
      )
      this.#refused = undefined
      if ('instead' in revision) return { outcome: 'unchanged', commit: commit.commit }
      log.info({ generation: revision.generation, commit: revision.commit }, 'a policy revision is active')
      this.#options.onActivated?.(revision, commit)
      return { outcome: 'activated', commit: commit.commit, revision }
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      await recordRefusal(database, audit, commit.commit, error.problems)
      this.#refused = { commit: commit.commit, problems: error.problems }
      log.warn(
        { commit: commit.commit, problems: error.problems.map(problemText).slice(0, 20) },
        'a policy commit was refused',
      )
      this.#options.onRefused?.(commit.commit, error.problems)
      return { outcome: 'refused', commit: commit.commit, problems: error.problems }
    }
  }

  /** Whatever a commit does to the steps of the gate, the answer is a refusal that is told and remembered. */
  async #compile(commit: string): Promise<Compiled & { readonly sources: Sources }> {
    try {
      const sources = await this.#mirror.read(commit)
      return { ...(await compile(sources, this.#options.gate)), sources }
    } catch (error) {
      const ofSystem = error instanceof Error && 'syscall' in error // a full disk is no fault of the commit
      if (error instanceof Refused || error instanceof SallyportError || ofSystem) throw error
      log.error({ err: error, commit }, 'the gate failed on a commit')
      throw new Refused([
        { code: 'gate_failed', message: `the gate failed on this commit: ${(error as Error).message.slice(0, 500)}` },
      ])
    }
  }

  /** There is no built-in administrator: a first revision that locks everybody out would be the last one too. */
  #demandFirstAdmins(bundle: Bundle): void {
    const group = this.#options.first_admins
    const evaluator = new Evaluator(Buffer.from(bundle.wasm, 'base64'), canonical(bundle.data as Json))
    const subject = sampleSubject(group)
    const input = {
      call: 'policy.status',
      own: false,
      subject,
      target: {},
      time: timeFacts(subject.groups_at_ms, 'UTC'),
    }
    const answer = evaluator.evaluate('admin', canonical(input as Json))
    if (answer.ok && isResult('admin', answer.value) && answer.value.effect === 'allow') return
    throw new Refused([
      {
        code: 'first_admins',
        file: 'admin/admin.rego',
        message: `a first revision must allow the group ${group} (setting first_admins) the call policy.status: nobody could administer it otherwise`,
      },
    ])
  }
}
