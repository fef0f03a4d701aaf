import { createPublicKey, type KeyObject } from 'node:crypto'
import type { AuditWriter } from '../../audit/events.ts'
import type { Database } from '../../db/database.ts'
import { SallyportError } from '../../errors.ts'
import { faultMessage, logger } from '../../log.ts'
import { bundleDigest, bundleOpts } from '../bundle.ts'
import type { ActiveRevision } from '../engine.ts'
import { demandFirstAdmins } from '../first-admins.ts'
import { type Compiled, compile, type GateOptions } from '../gate.ts'
import { type Problem, problemText, Refused, refusalError } from '../problem.ts'
import { unpackSources } from '../revision-sources.ts'
import {
  activate,
  compiledCandidate,
  getRevision,
  type NewestRevision,
  newestRevision,
  recordRefusal,
  type Store,
} from '../revision-store.ts'
import { verifyRevision } from '../signing.ts'
import { type Commit, GitMirror, type GitOptions } from './git.ts'
import { changeState, instant, isHeld, type PolicyState, readState, recordLook } from './policy-state.ts'
import { endDueRecovery } from './recovery.ts'
import { reusedCandidate, revisionOf } from './reuse.ts'
import type { Sources } from './sources.ts'
import { type Hand, pin, rollsBackTo, type Steered, unpin } from './steering.ts'

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
  /** This process, as who looked last. */
  readonly process_id?: string
  /** A revision is in force. */
  readonly onActivated?: (revision: ActiveRevision, commit: Commit) => void
  /** A commit did not pass; the last good one stays. */
  readonly onRefused?: (commit: string, problems: readonly Problem[]) => void
}

export type PollOutcome =
  | { readonly outcome: 'unchanged'; readonly commit: string }
  /** A hand holds the policy: what the ref names is not followed. */
  | { readonly outcome: 'held'; readonly commit: string }
  | { readonly outcome: 'activated'; readonly commit: string; readonly revision: ActiveRevision }
  | { readonly outcome: 'refused'; readonly commit: string; readonly problems: readonly Problem[] }

/**
 * Control's side of the policy repository: looks at it, puts commits through the gate, activates what passes, and holds
 * what somebody pinned. What it does with the mirror happens one after the other.
 */
export class Repository {
  readonly #options: RepositoryOptions
  readonly #store: Store
  readonly #mirror: GitMirror
  #refused: { key: string; commit: string; problems: readonly Problem[] } | undefined
  #notRenewed: number | undefined
  #running: Promise<PollOutcome> | undefined
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: RepositoryOptions) {
    this.#options = options
    this.#store = options
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
    this.#running ??= this.#alone(() => this.#poll()).finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** Looks after now: where a look is under way, once more after it. */
  async look(): Promise<PollOutcome> {
    await this.#running?.catch(() => {})
    return this.poll()
  }

  /**
   * Puts a commit of the tracked ref's history, or one that was in force before, into force and holds it there.
   * @throws SallyportError that says why it cannot be.
   */
  pin(id: string, by: Hand): Promise<Steered> {
    return this.#alone(async () => {
      if (!/^[0-9a-f]{7,64}$/.test(id))
        throw new SallyportError('bad_request', `${id.slice(0, 80)} is no commit`, {
          remedy: 'give at least the first seven characters of its id',
        })
      const { db } = this.#store.database
      const stored = await revisionOf(db, id)
      const place = await this.#place(stored?.commit ?? id)
      if (stored !== undefined && (await this.#mirror.mayReturn(stored.signer)))
        return pin(this.#store, reusedCandidate(this.#store, stored, 'pinned'), by, place.acknowledges)
      if (place.failed !== undefined) throw place.failed
      if (place.commit === undefined)
        throw new SallyportError(
          'not_found',
          `${id} is neither in the history of ${this.#mirror.ref} nor was it in force`,
          {
            remedy: 'push it to the tracked ref first; `sallyport policy history` lists what was in force',
          },
        )
      const candidate = await this.#candidate(await this.#mirror.describe(place.commit), 'pinned', false).catch(
        (error: unknown) => {
          throw error instanceof Refused ? refusalError(error) : error
        },
      )
      return pin(this.#store, candidate, by, place.acknowledges)
    })
  }

  /** Puts what was in force before (the revision before of another commit, or this generation) into force, and holds it. */
  rollback(generation: number | undefined, by: Hand): Promise<Steered> {
    return this.#alone(async () => {
      const row = await rollsBackTo(this.#store, generation, this.#mayReturn)
      return pin(this.#store, reusedCandidate(this.#store, row, 'rolled_back'), by, false)
    })
  }

  /** Lets go of what is held; the next look follows the tracked ref again. */
  unpin(by: Hand): Promise<{ readonly ended: 'recovery' | 'pin' }> {
    return this.#alone(() => unpin(this.#store, by, this.#mayReturn))
  }

  /** Ends a recovery whose time is over. It waits for no look: nothing is decided by it any more. */
  endDueRecovery(): Promise<void> {
    return endDueRecovery(this.#store, this.#mayReturn)
  }

  readonly #mayReturn = (signer: string | null) => this.#mirror.mayReturn(signer)

  #alone<X>(run: () => Promise<X>): Promise<X> {
    const done = this.#last.then(run)
    this.#last = done.catch(() => {})
    return done
  }

  async #poll(): Promise<PollOutcome> {
    const { database, process_id = '' } = this.#options
    const { db } = database
    await this.#renew()
    const seen = await this.#mirror.remoteHead().catch(async (error: unknown) => {
      await recordLook(db, { problem: faultMessage(error).slice(0, 500) })
      throw error
    })
    await recordLook(db, { by: process_id, head: seen })
    const state = await readState(db)
    if (isHeld(state)) {
      await recordLook(db, { current: true })
      return { outcome: 'held', commit: seen }
    }
    const newest = await newestRevision(db)
    if (seen === newest?.commit && newest.kind !== 'recovery' && newest.opts >= bundleOpts) {
      this.#refused = undefined
      await recordLook(db, { current: true })
      return { outcome: 'unchanged', commit: seen }
    }
    const key = `${seen} ${state.followed} ${state.acknowledged}`
    if (key === this.#refused?.key) return { outcome: 'unchanged', commit: seen }
    const commit = await this.#mirror.fetch(baseOf(state, newest) !== undefined)
    try {
      return await this.#follow(commit, state, newest)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      this.#refused = { key: key.replace(seen, commit.commit), commit: commit.commit, problems: error.problems }
      await this.#tellRefusal(commit.commit, error)
      return { outcome: 'refused', commit: commit.commit, problems: error.problems }
    }
  }

  async #tellRefusal(commit: string, { problems }: Refused): Promise<void> {
    await recordRefusal(this.#options.database, this.#options.audit, commit, problems)
    log.warn({ commit, problems: problems.map(problemText).slice(0, 20) }, 'a policy commit was refused')
    this.#options.onRefused?.(commit, problems)
  }

  /**
   * What an older build compiled, and this one does not evaluate, is compiled again from its stored sources: an upgrade
   * needs no git server, and leaves a pin where it is. An older build does nothing to what a newer one made.
   * INVARIANT: control signs again only what it had signed. Stored sources are signed by nobody: they must compile to the
   * digest that was; with a compiler that builds other bundles git alone vouches for them, by the id of the commit.
   */
  async #renew(): Promise<void> {
    const { db } = this.#store.database
    const newest = await newestRevision(db)
    if (newest === undefined || newest.opts >= bundleOpts || newest.kind === 'recovery') return
    const row = await getRevision(db, newest.generation)
    if (row?.sources == null || this.#notRenewed === newest.generation) return
    const { commit, author, subject_line, signer, opts, digest, signature } = row
    const stored = row.sources
    try {
      if (!verifyRevision(row, signature, createPublicKey(this.#store.key))) throw notSigned(commit)
      let { bundle, sources } = await this.#gate(commit, async () => unpackSources(stored))
      if (bundleDigest({ ...bundle, opts }) !== digest) {
        if ((await this.#mirror.find(commit)) !== commit) throw notSigned(commit)
        ;({ bundle, sources } = await this.#gate(commit, () => this.#mirror.read(commit)))
      }
      const candidate = compiledCandidate({ commit, author, subject_line, signer }, bundle, sources, row.kind)
      await activate(
        this.#store,
        candidate,
        async (_tx, now) => (now?.generation === newest.generation ? null : ('unchanged' as const)),
        async () => {},
      )
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      this.#notRenewed = newest.generation
      await this.#tellRefusal(commit, error)
    }
  }

  /** @throws Refused */
  async #follow(commit: Commit, state: PolicyState, newest: NewestRevision | undefined): Promise<PollOutcome> {
    const id = commit.commit
    const base = baseOf(state, newest)
    if (base !== undefined && !(await this.#comesFrom(id, base, state.acknowledged))) throw this.#rewrittenRef(id, base)
    const candidate = await this.#candidate(commit, 'followed', base === undefined)
    const revision = await activate(
      this.#store,
      candidate,
      async (tx, now) => {
        const current = await readState(tx)
        if (isHeld(current)) return 'held' as const
        const isThere = now?.commit === id && now.digest === candidate.digest && now.kind !== 'recovery'
        return isThere || current.followed !== state.followed ? ('unchanged' as const) : null
      },
      async tx => changeState(tx, { followed: id, acknowledged: null, current_at: await instant(tx) }),
    )
    this.#refused = undefined
    if ('instead' in revision) return { outcome: revision.instead, commit: id }
    log.info({ generation: revision.generation, commit: revision.commit }, 'a policy revision is active')
    this.#options.onActivated?.(revision, commit)
    return { outcome: 'activated', commit: id, revision }
  }

  /** Signature first: what nobody signed is not even compiled. @throws Refused */
  async #candidate(commit: Commit, kind: 'followed' | 'pinned', first: boolean) {
    const signer = await this.#mirror.verify(commit.commit)
    const { bundle, sources } = await this.#gate(commit.commit, () => this.#mirror.read(commit.commit))
    if (first) demandFirstAdmins(bundle, this.#options.first_admins)
    return compiledCandidate({ ...commit, signer }, bundle, sources, kind)
  }

  /** Who acknowledged a rewritten history said no to what it dropped: that does not come back by itself either. */
  #comesFrom(commit: string, base: string, acknowledged: string | null): Promise<boolean> {
    return this.#mirror.descends(commit, acknowledged ?? base)
  }

  #rewrittenRef(commit: string, base: string): Refused {
    const [now, was] = [commit.slice(0, 12), base.slice(0, 12)]
    return new Refused([
      {
        code: 'history',
        message: `${this.#mirror.ref} names ${now}, which does not come from ${was}, the commit that was followed last: after a force-push, or for an older commit, somebody must say so. Look at what was dropped, then run \`sallyport policy pin ${now}\` and \`sallyport policy unpin\``,
      },
    ])
  }

  /**
   * Where a commit to be pinned stands: in the tracked ref's history or not. It acknowledges a rewritten history only as
   * the very commit that the ref names now: who pins an older one, to be safe, has not said yes to what came after it.
   */
  async #place(id: string): Promise<{ commit?: string | undefined; acknowledges: boolean; failed?: unknown }> {
    const { db } = this.#store.database
    try {
      const commit = await this.#mirror.find(id)
      if (commit === undefined || commit !== (await this.#mirror.remoteHead())) return { commit, acknowledges: false }
      const state = await readState(db)
      const base = baseOf(state, await newestRevision(db))
      return { commit, acknowledges: base !== undefined && !(await this.#comesFrom(commit, base, state.acknowledged)) }
    } catch (failed) {
      return { acknowledges: false, failed }
    }
  }

  /** Whatever a commit does to the steps of the gate, the answer is a refusal that is told and remembered. */
  async #gate(commit: string, read: () => Promise<Sources>): Promise<Compiled & { readonly sources: Sources }> {
    try {
      const sources = await read()
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
}

function notSigned(commit: string): Refused {
  const short = commit.slice(0, 12)
  return new Refused([
    {
      code: 'not_signed',
      message: `what is stored of ${short} is not what this control plane signed: it is not used again`,
    },
  ])
}

/** The commit that the ref's next one must come from; none before a first revision. */
function baseOf(state: PolicyState, newest: NewestRevision | undefined): string | undefined {
  return state.followed ?? (newest === undefined || newest.kind === 'recovery' ? undefined : newest.commit)
}
