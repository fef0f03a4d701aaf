import type { KeyObject } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import type { Database } from '../../db/database.ts'
import { logger } from '../../log.ts'
import { Rounds } from '../../rounds.ts'
import { bundleDigest, unpackBundle } from '../bundle.ts'
import type { Decision } from '../decision.ts'
import type { Engine } from '../engine.ts'
import { candidateOf } from '../impact/revision.ts'
import type { Point } from '../points.ts'
import { verifyShadow } from '../signing.ts'
import { newestShadow, type StoredShadow, shadowBundle, writeWeighed } from './store.ts'
import type { Observed, Report, Weighed, WeigherOptions } from './weigher.ts'

const log = logger('policy')
const capacity = 2_000
const batchMs = 100
/** A batch at a time, so that the thread takes at most a small part of a core from whoever serves. */
const batchSize = 50
/** And rests so many times as long as a batch took: a candidate that is slow takes no more of it either. */
const rest = 9
const lookMs = 2_000
const keptGroups = 500
const againAfterMs = 30_000
const maxKnown = 1_000

/** Points that are weighed; what the log erases is asked for each decision and is no question of anybody. */
const unweighed: ReadonlySet<Point> = new Set<Point>(['decision_log'])
/** Answers that come of the state of this process, and not of a policy. */
const ofTheMoment: ReadonlySet<string> = new Set(['policy_missing', 'policy_stale', 'input_invalid', 'input_too_large'])

export interface ShadowOptions {
  readonly database: Database
  readonly engine: Engine
  /** Control's public key. */
  readonly key: KeyObject
  readonly process_id: string
  readonly zone: string
  readonly max_groups_age_s: number
  /** Arguments of Node for the thread, where the program does not run from its build. */
  readonly execArgv?: readonly string[]
}

/**
 * Weighs what this process decides under a candidate policy, in a thread of its own. INVARIANT: no outcome depends on it:
 * whoever decides puts a reference into a bounded queue and goes on; when it is full, what is skipped is counted and said.
 */
export class Shadow implements AsyncDisposable {
  readonly #options: ShadowOptions
  readonly #hidden: HiddenPaths
  #queue: Decision[] = []
  #running: { readonly shadow: StoredShadow; readonly worker: Worker } | undefined
  #failed: { readonly number: number; readonly at: number } | undefined
  #busy = false
  #restsUntil = 0
  #blind = false
  #skipped = 0
  #quietUntil = 0
  #unwritten: Weighed[] = []
  #observing: Disposable | undefined
  #timers: NodeJS.Timeout[] = []
  readonly #looks = new Rounds(() => this.#look())

  constructor(options: ShadowOptions) {
    this.#options = options
    this.#hidden = new HiddenPaths(options.engine)
  }

  /** Decisions that wait to be weighed. */
  get waiting(): number {
    return this.#queue.length
  }

  start(): void {
    this.#timers = [setInterval(() => this.#feed(), batchMs), setInterval(() => this.#tick(), lookMs)]
    for (const timer of this.#timers) timer.unref()
    void this.look()
  }

  /** A look that takes long is not followed by a queue of others. */
  #tick(): void {
    if (this.#looks.isIdle) void this.look()
  }

  /** Looks which shadow there is, and writes down what was found. It does not throw. */
  look(): Promise<void> {
    return this.#looks.run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    this.#observing?.[Symbol.dispose]()
    await this.#looks.over()
    await this.#write().catch(error => log.error({ err: error }, 'what the shadow policy came to is not written'))
    await this.#stop()
  }

  /** In the way of whoever decides: a look and a push. */
  #observe(decision: Decision): void {
    if (unweighed.has(decision.point) || ofTheMoment.has(decision.code)) return
    if (this.#queue.length >= capacity) this.#skipped++
    else this.#queue.push(decision)
  }

  #feed(): void {
    const worker = this.#running?.worker
    if (worker === undefined || this.#busy || this.#queue.length === 0) return
    if (performance.now() < this.#restsUntil) return
    this.#busy = true
    worker.postMessage(this.#queue.splice(0, batchSize).map(each => observedOf(each, this.#hidden.of(each))))
  }

  async #look(): Promise<void> {
    try {
      await this.#follow()
      this.#blind = false
    } catch (error) {
      if (!this.#blind) log.warn({ err: error }, 'no look at the shadow policy; it is tried again') // once for an outage
      this.#blind = true
    }
  }

  async #follow(): Promise<void> {
    const { database, engine } = this.#options
    const found = await newestShadow(database.db)
    // What is in force already differs from itself in nothing.
    const wanted = found?.digest === null || found?.digest === engine.revision?.digest ? undefined : found
    if (wanted?.number !== this.#running?.shadow.number) {
      await this.#write()
      await this.#stop()
      if (wanted !== undefined && !this.#failedLately(wanted)) await this.#try(wanted)
    }
    await this.#write()
  }

  #failedLately({ number }: StoredShadow): boolean {
    return this.#failed?.number === number && performance.now() - this.#failed.at < againAfterMs
  }

  async #try(shadow: StoredShadow): Promise<void> {
    try {
      const found = await shadowBundle(this.#options.database.db, shadow.number)
      this.#begin(shadow, found?.bundle ?? null, found?.signature ?? null)
    } catch (error) {
      this.#fail(shadow, (error as Error).message)
    }
  }

  #begin(shadow: StoredShadow, bundle: Buffer | null, signature: Buffer | null): void {
    const { key, zone, max_groups_age_s, execArgv, engine } = this.#options
    const { number, commit, digest } = shadow
    if (digest === null || bundle === null || signature === null) return
    if (!verifyShadow({ shadow: number, commit, digest }, signature, key))
      throw new Error('it has no valid signature of the control plane')
    const unpacked = unpackBundle(bundle)
    if (bundleDigest(unpacked) !== digest) throw new Error('it does not have the digest it was signed with')
    const options: WeigherOptions = {
      candidate: candidateOf({ name: 'shadow', commit }, unpacked),
      zone,
      max_groups_age_s,
      groups: keptGroups,
    }
    const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js'
    const worker = new Worker(new URL(file, import.meta.url), {
      workerData: options,
      resourceLimits: { maxOldGenerationSizeMb: 128 },
      ...(execArgv === undefined ? {} : { execArgv: [...execArgv] }),
    })
    worker.unref()
    worker.on('message', ({ weighed, took_ms }: Report) => {
      this.#busy = false
      this.#restsUntil = performance.now() + rest * took_ms
      this.#unwritten.push(weighed)
    })
    worker.on('error', error => this.#fail(shadow, error.message))
    this.#running = { shadow, worker }
    this.#observing ??= engine.onDecided(decision => this.#observe(decision))
    log.info({ shadow: number, commit, digest }, 'a shadow policy is weighed beside the active one')
  }

  #fail(shadow: StoredShadow, why: string): void {
    log.error(
      { shadow: shadow.number, commit: shadow.commit, why },
      'the shadow policy cannot be weighed; nothing else is touched',
    )
    this.#failed = { number: shadow.number, at: performance.now() }
    void this.#stop()
  }

  async #stop(): Promise<void> {
    const running = this.#running
    this.#running = undefined
    this.#observing?.[Symbol.dispose]()
    this.#observing = undefined
    this.#queue = []
    this.#unwritten = []
    this.#skipped = 0
    this.#busy = false
    this.#restsUntil = 0
    await running?.worker.terminate()
  }

  /** Once a minute: whoever is flooded is not flooded with words too. The counts have all of it. */
  #saySkipped({ number }: StoredShadow, skipped: number): void {
    if (performance.now() < this.#quietUntil) return
    this.#quietUntil = performance.now() + 60_000
    log.warn({ shadow: number, skipped }, 'decisions came faster than the shadow policy weighs them')
  }

  /** What cannot be written waits for the next look; it is bounded like the queue that it comes from. */
  async #write(): Promise<void> {
    const shadow = this.#running?.shadow
    if (shadow === undefined || (this.#unwritten.length === 0 && this.#skipped === 0)) return
    const [weighed, skipped] = [this.#unwritten.splice(0), this.#skipped]
    this.#skipped = 0
    try {
      await writeWeighed(this.#options.database, shadow.number, this.#options.process_id, weighed, skipped)
      if (skipped > 0) this.#saySkipped(shadow, skipped)
    } catch (error) {
      this.#unwritten = [...weighed, ...this.#unwritten].slice(-capacity)
      this.#skipped += skipped
      throw error
    }
  }
}

function observedOf(decision: Decision, hidden: readonly string[]): Observed {
  const { id, point, at_ms, generation, input, effect, code, reasons, result } = decision
  return { id, point, at_ms, generation: generation ?? 0, input, answer: { effect, code, reasons, result }, hidden }
}

/** What the active policy keeps out of the decision log, asked once for all decisions that it cannot tell apart. */
class HiddenPaths {
  readonly #engine: Engine
  readonly #known = new Map<string, readonly string[]>()
  #generation: number | undefined

  constructor(engine: Engine) {
    this.#engine = engine
  }

  of({ effect, point, about: { resource } }: Decision): readonly string[] {
    const generation = this.#engine.revision?.generation
    if (generation !== this.#generation || this.#known.size >= maxKnown) this.#known.clear()
    this.#generation = generation
    const key = `${point} ${effect} ${resource}`
    const found = this.#known.get(key) ?? this.#ask({ effect, point, resource })
    this.#known.set(key, found)
    return found
  }

  /** Where the point gives no usable answer the log holds everything, and so may this. */
  #ask(question: { effect: string; point: string; resource: string | null }): readonly string[] {
    const { result } = this.#engine.weigh('decision_log', question)
    return result === null ? [] : [...result.erase, ...result.mask]
  }
}
