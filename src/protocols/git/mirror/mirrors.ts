import { join } from 'node:path'
import { SallyportError } from '../../../errors.ts'
import { optionsOf } from '../options.ts'
import { type Mirrors, PushFault, type Quarantine, type TargetSide } from '../push.ts'
import type { Repository } from '../repositories.ts'
import { Harmless } from './harmless.ts'
import { type MirrorLimits, mirrorLimits } from './limits.ts'
import { adoptLost, type By, Lost, type LostTip } from './lost.ts'
import { Mirror } from './mirror.ts'
import { PushQuarantine } from './quarantine.ts'
import { Store, type Whose } from './store.ts'

/** Pushes that may lie in quarantine in one process at once. */
const mostAtOnce = 64
/** And of one person: who begins pushes and ends none keeps nobody else out. */
const mostOfOne = 16
const nobody: By = { session_id: '', subject: '' }

/** All mirrors of one gateway host; its workers share the folder. */
export class GitMirrors implements Mirrors {
  readonly #store: Store
  readonly #limits: MirrorLimits
  readonly #harmless: Harmless
  #open = 0
  readonly #openOf = new Map<string, number>()

  /** Sweeps what processes left that are gone. */
  constructor(folder: string, limits: Partial<MirrorLimits> = {}) {
    this.#limits = { ...mirrorLimits, ...limits }
    this.#store = new Store(folder, this.#limits)
    this.#harmless = new Harmless(join(folder, 'harmless'))
    this.#sweep()
  }

  #sweep(): void {
    this.#store.sweep(folder => adoptLost(folder, this.#store, this.#limits))
  }

  async quarantine(repository: Repository, target: TargetSide, by: By = nobody): Promise<Quarantine> {
    const { push } = optionsOf(repository.resource)
    if (this.#open >= mostAtOnce || !this.#store.hasRoom())
      throw new PushFault('not_ready', 'the gateway has no room for one more push now', 'push again in a few minutes')
    if ((this.#openOf.get(by.subject) ?? 0) >= mostOfOne)
      throw new PushFault(
        'not_ready',
        `${mostOfOne} pushes of yours are under way`,
        'wait until they are over, and push again',
      )
    this.#count(by, 1)
    try {
      const whose = { resource: repository.resource.name, repository: repository.name }
      const mirror = new Mirror(whose, this.#store, this.#limits)
      await mirror.ensure(target.object_format)
      return new PushQuarantine({
        mirror,
        target,
        lost: this.#lost(whose),
        store: this.#store,
        harmless: this.#harmless,
        limits: this.#limits,
        keys: { allowed: push?.signers ?? [], openpgp: push?.openpgp ?? [] },
        secrets: push?.secrets ?? false,
        ignore: push?.fsck?.ignore ?? [],
        max_bytes: Math.min((push?.max_mib ?? Number.POSITIVE_INFINITY) * (1 << 20), this.#limits.pack_bytes),
        by,
        onDropped: () => this.#count(by, -1),
      })
    } catch (error) {
      this.#count(by, -1)
      if (error instanceof SallyportError) throw new PushFault('not_ready', error.message, error.remedy)
      throw error
    }
  }

  #count({ subject }: By, change: 1 | -1): void {
    this.#open += change
    const of = (this.#openOf.get(subject) ?? 0) + change
    if (of > 0) this.#openOf.set(subject, of)
    else this.#openOf.delete(subject)
  }

  /** What force-pushes and deletions lost in a repository, newest first. */
  lost(whose: Whose): LostTip[] {
    return this.#lost(whose).list()
  }

  /** The file of the bundle that brings one of them back. */
  bundle(whose: Whose, id: string): string | undefined {
    return this.#lost(whose).bundle(id)
  }

  /**
   * Once an hour: mirrors that nobody uses go, and with them what was lost by sessions that are not recorded any more:
   * `kept` says which of these still are.
   */
  async tend(kept: (sessions: readonly string[]) => Promise<ReadonlySet<string>>, now = Date.now()): Promise<void> {
    this.#sweep()
    this.#store.evict(now)
    for (const whose of this.#store.withLosses()) {
      const lost = this.#lost(whose)
      const sessions = [...new Set(lost.list().flatMap(each => each.by?.session_id ?? []))]
      const still = await kept(sessions)
      const old = now - this.#limits.idle_ms
      await lost.expire(
        each => (each.by === null || each.by.session_id === '' ? each.at_ms < old : !still.has(each.by.session_id)),
        new Mirror(whose, this.#store, this.#limits),
      )
    }
  }

  #lost(whose: Whose): Lost {
    return new Lost(this.#store.lost(whose), whose, this.#limits)
  }
}
