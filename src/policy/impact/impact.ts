import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { blocksOf, linesOf } from './blocks.ts'
import type { Change } from './compare.ts'
import { Groups } from './groups.ts'
import { type Counted, nothingCounted, Replay, type ReplayOptions } from './replay.ts'
import type { Candidate } from './revision.ts'

/** Whom a change of policy would have hit, computed from what was asked before. */
export interface ImpactReport extends Counted {
  readonly base: Named
  readonly head: Named
  /** The two compile to the same bundle: no question can be answered differently. */
  readonly identical: boolean
}

interface Named {
  readonly name: string
  readonly commit: string
  readonly digest: string
}

export interface ImpactOptions {
  readonly base: Candidate
  readonly head: Candidate
  /** Entries of the decision log in OPA's event format, JSON Lines. */
  readonly log: AsyncIterable<Uint8Array>
  readonly zone?: string
  /** Threads that judge; 0: this one. */
  readonly threads?: number
  /** Groups that are kept; what falls outside is counted. */
  readonly groups?: number
  /** Arguments of Node for the threads, where the program does not run from its build. */
  readonly execArgv?: readonly string[]
  readonly onProgress?: (blocks: number) => void
}

const keptGroups = 10_000
const maxThreads = 8
/** Blocks that a thread has and has not answered yet: enough that it never waits, few enough that memory stays small. */
const ahead = 3

/** Judges a recorded log under two revisions. Its memory does not grow with the length of the log. */
export async function computeImpact(options: ImpactOptions): Promise<ImpactReport> {
  const { base, head, zone = 'UTC', groups = keptGroups } = options
  const named = ({ name, commit, digest }: Candidate): Named => ({ name, commit, digest })
  const shape = { base: named(base), head: named(head), identical: base.digest === head.digest }
  const threads = options.threads ?? Math.min(maxThreads, availableParallelism())
  const given: ReplayOptions = { base, head, zone, groups }
  const counted = threads === 0 ? await here(given, options) : await spread(given, threads, options)
  return { ...counted, ...shape }
}

async function here(given: ReplayOptions, { log, onProgress }: ImpactOptions): Promise<Counted> {
  const replay = new Replay(given)
  let blocks = 0
  for await (const block of blocksOf(log)) {
    for (const line of linesOf(block)) replay.line(line)
    onProgress?.(++blocks)
  }
  return replay.done()
}

async function spread(given: ReplayOptions, threads: number, options: ImpactOptions): Promise<Counted> {
  const halves = Array.from({ length: threads }, () => new Half(given, options.execArgv))
  try {
    let blocks = 0
    for await (const block of blocksOf(options.log)) {
      const free = halves.find(half => half.waiting < ahead) ?? (await Promise.race(halves.map(half => half.free())))
      free.give(block)
      options.onProgress?.(++blocks)
    }
    return joined(await Promise.all(halves.map(half => half.done())), given.groups)
  } finally {
    await Promise.all(halves.map(half => half.stop()))
  }
}

/** A thread and what it has not answered yet. */
class Half {
  waiting = 0
  readonly #worker: Worker
  readonly #ended: Promise<never>
  #told: () => void = () => {}
  #counted: (counted: Counted) => void = () => {}

  constructor(given: ReplayOptions, execArgv: readonly string[] | undefined) {
    const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js'
    this.#worker = new Worker(new URL(file, import.meta.url), {
      workerData: given,
      ...(execArgv === undefined ? {} : { execArgv: [...execArgv] }),
    })
    this.#ended = new Promise((_, fail) => {
      this.#worker.on('error', fail)
      this.#worker.on('exit', () => fail(new Error('a thread of the report ended before it was done')))
    })
    this.#ended.catch(() => {})
    this.#worker.on('message', (answer: Counted | null) => {
      if (answer !== null) return this.#counted(answer)
      this.waiting--
      this.#told()
    })
  }

  give(block: Uint8Array): void {
    this.waiting++
    this.#worker.postMessage(block, [block.buffer as ArrayBuffer])
  }

  /** This one, as soon as it has answered something. */
  free(): Promise<Half> {
    return Promise.race([this.#ended, new Promise<Half>(resolve => (this.#told = () => resolve(this)))])
  }

  done(): Promise<Counted> {
    const counted = new Promise<Counted>(resolve => (this.#counted = resolve))
    this.#worker.postMessage(null)
    return Promise.race([this.#ended, counted])
  }

  async stop(): Promise<void> {
    await this.#worker.terminate()
  }
}

function joined(halves: readonly Counted[], limit: number): Counted {
  const whole = nothingCounted()
  const groups = new Groups(limit)
  for (const half of halves) {
    for (const name of ['read', 'judged', 'same', 'reworded', 'partial', 'left'] as const) whole[name] += half[name]
    for (const why of Object.keys(whole.skipped) as (keyof Counted['skipped'])[])
      whole.skipped[why] += half.skipped[why]
    for (const change of Object.keys(whole.changes) as Change[]) whole.changes[change] += half.changes[change]
    whole.first_at_ms = earliest(whole.first_at_ms, half.first_at_ms)
    whole.last_at_ms = latest(whole.last_at_ms, half.last_at_ms)
    for (const group of half.groups) groups.merge(group)
  }
  return { ...whole, groups: groups.list(), left: whole.left + groups.left }
}

function earliest(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.min(a, b)
}

function latest(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b)
}
