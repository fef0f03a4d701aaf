import { canonical } from '../canonical.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { Catalog, OpenedPart } from './catalog.ts'
import { JournalLost } from './errors.ts'
import { clearFrame, frameKind } from './format/frames.ts'
import { Heir } from './heir.ts'
import type { WrittenPart } from './journal-file.ts'
import type { JournalFs } from './journal-fs.ts'
import { JournalWriter } from './journal-writer.ts'
import { type BegunPart, newPart } from './new-part.ts'
import { checkRecipients } from './part-key.ts'
import { PartQueue } from './part-queue.ts'
import { PartRecorder } from './part-recorder.ts'
import type { SessionFacts, SessionRecorder } from './recorder.ts'
import type { Recovered } from './recovery.ts'
import { Shipper } from './shipper.ts'
import { createSpool, ownsSpool, ownsSpoolNow, removeSpool } from './spool.ts'
import type { Store } from './store.ts'

const log = logger('recording')
const takenOver = 'another process took this one for dead and took its spool over'
/** Less than anybody waits before they take a spool over. */
const ownedMs = 10_000

export interface JournalOptions {
  readonly catalog: Catalog
  readonly store: Store
  /** Id of this process (prc_…), which names its spool folder. */
  readonly process_id: string
  readonly spool_root: string
  readonly spool_bytes: number
  /** X25519 recipients of age: only their identities read what is recorded here. */
  readonly recipients: readonly string[]
  /** Who reads what `originals: sealed` keeps. None: a session for which policy asks that does not start. */
  readonly originals_recipients?: readonly string[]
  readonly watched?: (sessionId: string) => boolean
  readonly onAlarm?: (reason: string | null) => void
  /** A process on another host counts as dead when it was not heard of for so long. */
  readonly dead_after_s?: number
  readonly fs?: JournalFs
  readonly tuning?: {
    readonly cutMs?: number
    readonly watchedMs?: number
    readonly alarmMs?: number
    readonly bufferBytes?: number
    readonly fileBytes?: number
    readonly syncMs?: number
    readonly lateMs?: number
  }
}

/** How the journal of a process is, for whoever looks after it. */
export interface JournalState {
  readonly spool_bytes: number
  readonly spool_max_bytes: number
  readonly parts_waiting: number // not wholly in the store yet
  readonly failing_s: number // for how long nothing could be shipped
  /** Why no session can be recorded now. */
  readonly unavailable: string | null
  /** Why somebody must look. */
  readonly alarm: string | null
}

/** The journal of this process: one file for all its sessions. INVARIANT: no recorder, no session. */
export class Journal {
  readonly #options: JournalOptions
  readonly #folder: string
  readonly #writer: JournalWriter
  readonly #shipper: Shipper
  readonly #heir: Heir
  readonly #recorders = new Set<PartRecorder>()
  /** Parts of which the database never said whether it has them: nothing is recorded in them, and they are ended if it has. */
  readonly #doubtful = new Set<string>()
  #recovering: Promise<Recovered[]> | undefined
  #closed = false
  #diskIsFull = false
  #taken = false
  #ownedAt = Date.now()

  /** Checks the recipients and makes the spool folder. Call `recoverDue` then, and every few seconds. */
  static async start(options: JournalOptions): Promise<Journal> {
    checkRecipients(options.recipients, options.originals_recipients)
    return new Journal(options, await createSpool(options.spool_root, options.process_id))
  }

  private constructor(options: JournalOptions, folder: string) {
    const { catalog, store, watched, onAlarm, fs, tuning = {} } = options
    this.#options = options
    this.#folder = folder
    this.#writer = new JournalWriter({
      folder,
      maxBytes: options.spool_bytes,
      guard: () => this.#guard(),
      onLost: reason => this.#lost(reason),
      ...(fs === undefined ? {} : { fs }),
      ...defined({ fileBytes: tuning.fileBytes, syncMs: tuning.syncMs, lateMs: tuning.lateMs }),
    })
    this.#shipper = new Shipper({
      catalog,
      store,
      writer: this.#writer,
      ...defined({
        watched,
        onAlarm,
        cutMs: tuning.cutMs,
        watchedMs: tuning.watchedMs,
        alarmMs: tuning.alarmMs,
        bufferBytes: tuning.bufferBytes,
      }),
    })
    const { process_id, spool_root, dead_after_s = 20 } = options
    this.#heir = new Heir({ catalog, store, process_id, spool_root, dead_after_s, isStopping: () => this.#closed })
  }

  /** Why no session can be recorded now; undefined when one can. */
  get unavailable(): string | undefined {
    if (this.#closed) return 'the gateway is stopping'
    if (this.#taken) return takenOver
    if (this.#diskIsFull) return 'the disk of the spool is full'
    if (!this.#writer.hasRoom) return 'the spool is nearly full: nothing was shipped to the store for a while'
    return undefined
  }

  /** How it is now. A journal that was lost is one until it can be written again: `look`. */
  get state(): JournalState {
    const unavailable = this.unavailable ?? this.#writer.lost ?? null
    const { failing_s, alarm } = this.#shipper
    return {
      spool_bytes: this.#writer.used,
      spool_max_bytes: this.#options.spool_bytes,
      parts_waiting: this.#shipper.pending,
      failing_s,
      unavailable,
      alarm: unavailable === null ? (alarm ?? this.#heir.problem) : `no session can be recorded: ${unavailable}`,
    }
  }

  /** Looks at the disk, and after a loss whether it takes something again, so that what is said of it is true. */
  async look(): Promise<void> {
    this.#diskIsFull = await this.#writer.diskIsFull().catch(() => false) // a disk that cannot be asked is not full
    if (this.#writer.lost !== undefined && this.unavailable === undefined) await this.#writer.revive().catch(() => {})
  }

  /** Bytes of the spool in use, those of dead processes included. */
  get spoolBytes(): number {
    return this.#writer.used
  }

  /** Bytes of events held in memory, waiting to be shipped. */
  get buffered(): number {
    return this.#shipper.buffered
  }

  /** Parts that are not wholly in the store yet. */
  get pending(): number {
    return this.#shipper.pending
  }

  /**
   * Begins to record a session in this process: its key, its rows, its place in the journal.
   * @throws JournalLost or another SallyportError: then the session must not start.
   */
  async open(facts: SessionFacts): Promise<SessionRecorder> {
    this.#check()
    await this.#writer.revive()
    const begun = [await newPart('masked', this.#options)]
    if (facts.settings.originals === 'sealed') begun.push(await newPart('originals', this.#options))
    const rows = begun.map(part => part.row)
    const opened = await this.#options.catalog.openParts(facts, rows).catch(error => {
      for (const { part_id } of rows) this.#doubtful.add(part_id)
      throw error
    })
    const started = performance.now()
    const second =
      begun[1] === undefined ? null : this.#recorder(facts, begun[1], opened[1]!, { started, originals: null })
    const first = this.#recorder(facts, begun[0]!, opened[0]!, { started, originals: second?.recorder ?? null })
    const { recorder } = first
    try {
      this.#check()
      for (const made of second === null ? [first] : [first, second])
        this.#writer.write(made.written, Buffer.alloc(0), 0)
      return recorder
    } catch (error) {
      await recorder.close(error instanceof SallyportError ? error.message : 'the journal could not take it')
      throw error
    }
  }

  /** Recovers the spools of processes that died on this host, or that the database has not heard of. */
  recoverDue(): Promise<Recovered[]> {
    this.#recovering ??= this.#recover().finally(() => {
      this.#recovering = undefined
    })
    return this.#recovering
  }

  /** Cuts what still records, ships what it can, and leaves the rest to the next process on this spool. */
  async close(timeoutMs = 10_000): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#recorders].map(recorder => recorder.close('the gateway is stopping')))
    await this.#recovering?.catch(() => {})
    await this.#endDoubtful()
    const empty = await this.#shipper.drain(timeoutMs)
    await this.#shipper.stop()
    await this.#writer.close().catch(() => {})
    if (empty && !this.#taken) await removeSpool(this.#folder)
  }

  #recorder(
    facts: SessionFacts,
    begun: BegunPart,
    opened: OpenedPart,
    more: { readonly started: number; readonly originals: PartRecorder | null },
  ): { readonly recorder: PartRecorder; readonly written: WrittenPart } {
    const { id, key, row } = begun
    const { part_id, layer, process_id, wrapped } = row
    const intro = canonical({
      v: 1,
      part_id,
      ...(layer === 'masked' ? {} : { layer }),
      ...opened,
      session_id: facts.session_id,
      process_id,
      seal: 'aes-256-gcm',
      key: wrapped.toString('base64'),
    })
    const { session_id } = facts
    const queue = new PartQueue({
      recording_id: opened.recording_id,
      part: opened.part,
      part_id: id,
      session_id,
      layer,
      key,
    })
    const written = { part_id, intro: clearFrame(frameKind.part, id, 1, Buffer.from(intro)) }
    const recorder = new PartRecorder({
      ...more,
      queue,
      written,
      strict: facts.settings.strict,
      writer: this.#writer,
      shipper: this.#shipper,
      onClosed: () => this.#recorders.delete(recorder),
    })
    this.#shipper.add(queue)
    this.#recorders.add(recorder)
    return { recorder, written }
  }

  #check(): void {
    const reason = this.unavailable
    if (reason !== undefined) throw new JournalLost(reason)
  }

  #lost(reason: string): void {
    log.error({ reason }, 'the journal is lost: every session that it records is cut')
    for (const recorder of [...this.#recorders]) recorder.lost(reason)
  }

  async #endDoubtful(): Promise<void> {
    const ids = [...this.#doubtful]
    if (ids.length === 0) return
    try {
      await this.#options.catalog.endUnused(ids, 'the session could not start')
      for (const id of ids) this.#doubtful.delete(id)
    } catch (error) {
      log.warn({ err: error }, 'parts that were perhaps begun could not be ended yet; it is tried again')
    }
  }

  /**
   * INVARIANT: whoever stood still for so long that they were taken for dead (a frozen container, a machine that slept) finds
   * out before the next event, and not at the next look: what they wrote into a spool that is gone would be lost.
   */
  #guard(): string | undefined {
    const now = Date.now()
    if (Math.abs(now - this.#ownedAt) < ownedMs) return undefined
    if (!ownsSpoolNow(this.#folder)) return this.#disowned()
    this.#ownedAt = now
    return undefined
  }

  #disowned(): string {
    this.#taken = true
    return takenOver
  }

  async #recover(): Promise<Recovered[]> {
    const now = Date.now()
    if (!this.#closed && !this.#taken) {
      if (await ownsSpool(this.#folder)) this.#ownedAt = now
      else this.#writer.lose(this.#disowned())
    }
    await this.#endDoubtful()
    const { done, left } = await this.#heir.recover()
    this.#writer.countOthers(left)
    return done
  }
}

/** The members that are there: an option given as undefined must not hide its default. */
function defined<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}
