import { setMaxListeners } from 'node:events'
import { rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { SallyportError } from '../../../errors.ts'
import { faultMessage, logger } from '../../../log.ts'
import type { UpdateFacts } from '../facts.ts'
import type { OldFault } from '../options.ts'
import { type Kept, PushFault, type Quarantine, type RefUpdate, type TargetSide } from '../push.ts'
import { bring } from './bring.ts'
import { type Checked, checkObjects } from './check.ts'
import { deltaDepth } from './depth.ts'
import { type Git, Unreadable } from './git.ts'
import type { Harmless } from './harmless.ts'
import { Intake, type Pack } from './intake.ts'
import { Judge } from './judge.ts'
import type { MirrorLimits } from './limits.ts'
import type { By, Lost } from './lost.ts'
import { listNew, type Mirror } from './mirror.ts'
import { asItCame, packOf } from './packing.ts'
import { type SignerKeys, Verifier } from './signatures.ts'
import type { Store } from './store.ts'

const log = logger('gateway')

export interface PushOptions {
  readonly mirror: Mirror
  readonly lost: Lost
  readonly target: TargetSide
  readonly store: Store
  readonly harmless: Harmless
  readonly limits: MirrorLimits
  readonly keys: SignerKeys
  readonly secrets: boolean
  readonly ignore: readonly OldFault[]
  readonly max_bytes: number
  readonly by: By
  readonly onDropped: () => void
}

/**
 * One push between its client and its target. The mirror is brought up to date while the pack comes in; the pack's objects lie
 * in a folder of their own, which git reads together with the mirror's and which goes with the push.
 */
export class PushQuarantine implements Quarantine {
  readonly whole: Promise<{ readonly bytes: number; readonly objects: number }>
  readonly #options: PushOptions
  readonly #folder: string
  readonly #objects: string
  readonly #given = new AbortController()
  readonly #ready: Promise<void>
  readonly #intake: Intake
  #began = false
  #pack: (Pack & Checked) | undefined
  #listed: { readonly what: string; readonly file: string } | undefined
  #dropped: Promise<void> | undefined
  readonly #tasks = new Set<Promise<unknown>>()
  #settling: Promise<void> | undefined
  /** What is about to be lost, or has been. */
  #preserved: readonly RefUpdate[] = []

  /** The mirror is there: it may be empty. */
  constructor(options: PushOptions) {
    const { store, limits, target } = options
    this.#options = options
    setMaxListeners(0, this.#given.signal) // every run of git hears of it
    this.#folder = store.aside()
    this.#objects = join(this.#folder, 'objects')
    this.#intake = new Intake(this.#git, limits, {
      most: options.max_bytes,
      format: target.object_format,
      hasRoom: bytes => store.hasRoom(bytes),
    })
    this.whole = this.#intake.whole.then(async pack => {
      const depth = await deltaDepth(pack.file, target.object_format === 'sha1' ? 20 : 32)
      if (depth > limits.delta_depth)
        throw new PushFault('bad_pack', `the pack has ${depth} deltas upon each other`, 'repack with `git repack -adF`')
      const checked = await checkObjects(this.#git, {
        folder: this.#folder,
        timeout_ms: limits.push_ms,
        max_file: limits.pack_bytes * 2,
        ignore: options.ignore,
        resource: options.mirror.whose.resource,
        bring: ids => this.#bring(ids, limits.count_bytes),
        harmless: options.harmless,
      })
      this.#pack = { ...pack, ...checked }
      return { bytes: pack.bytes, objects: pack.objects }
    })
    this.#ready = this.#catchUp()
    for (const each of [this.whole, this.#ready]) each.catch(() => {}) // whoever waits hears of it
  }

  /** A mirror that is damaged may fail at what it is asked to fetch: then too it is made anew. */
  async #catchUp(): Promise<void> {
    const { mirror, target, lost } = this.#options
    const { signal } = this.#given
    try {
      lost.noticed(await mirror.update(target, signal))
    } catch (error) {
      if (signal.aborted || (await mirror.isWhole())) throw error
      await mirror.again(target, signal)
    }
  }

  write(chunk: Buffer): Promise<void> | undefined {
    this.#began = true
    return this.#intake.write(chunk)
  }

  end(): void {
    if (this.#began) this.#intake.end()
  }

  async judge(updates: readonly RefUpdate[]): Promise<readonly UpdateFacts[]> {
    return this.#told(async () => {
      if (this.#began) await this.whole
      await this.#ready
      try {
        return await this.#judge(updates)
      } catch (error) {
        if (!(error instanceof Unreadable) || this.#given.signal.aborted) throw error
        // The push, or the mirror: what is wrong with the mirror is looked for only now, since it takes long.
        if (await this.#options.mirror.isWhole())
          throw new PushFault(
            'bad_pack',
            `the push lacks objects that it needs: ${error.why}`,
            'look at it with `git fsck`, and push again',
          )
        await this.#options.mirror.again(this.#options.target, this.#given.signal)
        return await this.#judge(updates)
      }
    })
  }

  pass(accepted: readonly RefUpdate[], all: boolean): Readable {
    const pack = this.#pack
    if (pack === undefined) return Readable.from([])
    return Readable.from(this.#bytes(pack, accepted, all), { objectMode: false, highWaterMark: 256 << 10 })
  }

  /** Before anything goes on: what these updates will lose was fetched when they were judged, and is kept from now on. */
  async preserve(accepted: readonly RefUpdate[]): Promise<readonly Kept[]> {
    this.#preserved = accepted
    return this.#options.lost.accepted(accepted, this.#folder)
  }

  settled(taken: readonly RefUpdate[]): Promise<void> {
    this.#settling = this.#told(async () => {
      await this.#ready
      const changes = new Map(taken.map(each => [each.ref, each.new]))
      await this.#options.lost.settled(taken, this.#options.mirror)
      const ids = taken.flatMap(each => each.new ?? [])
      await this.#options.mirror.add(this.#objects, changes, ids.length === 0 ? undefined : await this.#list(ids))
    })
    return this.#settling
  }

  drop(): Promise<void> {
    this.#dropped ??= this.#drop()
    return this.#dropped
  }

  /** INVARIANT: a client that goes once the target has the push keeps nothing from being noted, and what may be lost is kept. */
  async #drop(): Promise<void> {
    await this.#settling?.catch(() => {})
    this.#given.abort(new Error('the push is over'))
    await this.#intake.stop()
    // Whatever still runs has been killed, and writes here until it is gone.
    await Promise.allSettled([this.whole, this.#ready, ...this.#tasks])
    if (this.#settling === undefined)
      await this.#options.lost
        .settled(this.#preserved, this.#options.mirror)
        .catch(error => log.error({ err: error as Error }, 'what a push may have lost is not kept'))
    this.#options.onDropped()
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 }).catch(error =>
      log.error({ err: error as Error, folder: this.#folder }, 'a quarantine cannot be removed; the next start does'),
    )
  }

  get #git(): Git {
    return this.#options.mirror.git.with(this.#objects, this.#given.signal)
  }

  async #judge(updates: readonly RefUpdate[]): Promise<UpdateFacts[]> {
    const { target, limits, lost, keys, secrets } = this.#options
    const git = this.#git
    this.#listed = undefined
    const ids = updates.flatMap(each => each.new ?? [])
    const verifier = new Verifier(git, this.#folder, keys, limits.signatures)
    const judge = new Judge({
      git,
      limits,
      verifier,
      secrets,
      refs: target.refs,
      head: headOf(target),
      deleted: lost.deleted(),
      files: missing => this.#files(missing),
      pack: this.#pack ?? null,
    })
    const walked = this.#pack !== undefined && ids.length > 0 ? this.#list(ids) : undefined
    // Both come to an end before the push does. What the judge says of a push that lacks something is the clearer word.
    const [judged, whole] = await Promise.allSettled([judge.judge(updates), walked])
    verifier[Symbol.dispose]()
    if (judged.status === 'rejected') throw judged.reason
    if (whole.status === 'rejected') throw whole.reason
    return this.#keepable(judged.value)
  }

  /** What would be lost is set aside before policy is asked, which is told what could not be. */
  async #keepable(facts: readonly UpdateFacts[]): Promise<UpdateFacts[]> {
    const { lost, target, limits, by, store } = this.#options
    const losing = facts.filter(each => each.old !== null && each.kind !== 'fast-forward')
    const hasRoom = () => store.hasRoom()
    const how = { git: this.#git, target, limits, by, folder: this.#folder, signal: this.#given.signal, hasRoom }
    if (losing.length > 0) await lost.stage(losing, how)
    return facts.map(each => {
      const loses = each.old !== null ? each.kind !== 'fast-forward' : each.kind === 'force'
      return { ...each, kept: loses ? lost.keeps(each) : null }
    })
  }

  /** Walks all that the updates bring: an object that is neither in the pack nor on the target is found out here. */
  async #list(ids: readonly string[]): Promise<string> {
    const what = ids.join(' ')
    if (this.#listed?.what === what) return this.#listed.file
    const file = join(this.#folder, 'listed')
    rmSync(file, { force: true })
    await listNew(this.#git, ids, file, this.#options.limits.push_ms)
    this.#listed = { what, file }
    return file
  }

  /** Files of before, into the quarantine: they go with it. */
  async #files(ids: readonly string[]): Promise<boolean> {
    const { limits, secrets } = this.#options
    try {
      await this.#bring(ids, secrets ? limits.scan_bytes * 2 : limits.count_bytes)
      return true
    } catch (error) {
      log.info(
        { ...this.#options.mirror.whose, reason: faultMessage(error) },
        'files of before a push are not to be had',
      )
      return false
    }
  }

  #bring(ids: readonly string[], max_file: number): Promise<unknown> {
    const { limits, target } = this.#options
    const signal = this.#given.signal
    return bring(this.#git, target, ids, { limits, timeout_ms: limits.question_ms, max_file, signal })
  }

  async *#bytes(pack: Pack, accepted: readonly RefUpdate[], all: boolean): AsyncGenerator<Buffer> {
    const { target, limits } = this.#options
    const of = accepted.flatMap(each => each.new ?? [])
    if (all) yield* asItCame(pack)
    else {
      const without = [...new Set(target.refs.values())]
      yield* packOf(this.#git, { of, without, timeout_ms: limits.push_ms, signal: this.#given.signal })
    }
  }

  /** What goes wrong is told to the person who pushes in words of theirs. */
  async #told<X>(run: () => Promise<X>): Promise<X> {
    const task = run()
    this.#tasks.add(task)
    try {
      return await task
    } catch (error) {
      if (error instanceof PushFault) throw error
      if (error instanceof SallyportError) throw new PushFault('not_ready', error.message, error.remedy)
      throw error
    } finally {
      this.#tasks.delete(task)
    }
  }
}

/**
 * What a new ref is compared with. INVARIANT: nothing that whoever pushes may have made: a HEAD that names nothing leaves the
 * usual names, and where nobody says what it names there is nothing to compare with.
 */
function headOf({ refs, head }: TargetSide): string | null {
  if (head === undefined) return null
  if (head === null) return refs.get('refs/heads/main') ?? refs.get('refs/heads/master') ?? null
  return [...refs.values()].includes(head) ? head : null
}
