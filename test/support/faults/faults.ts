import { AsyncLocalStorage } from 'node:async_hooks'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Disk, type Tail } from './disk.ts'
import { patchFileSystem } from './file-system.ts'

/**
 * Fault injection for whatever must survive faults. `everyFault(kind, run)` calls `run(faults)` with a fault at step 1, 2, 3 …
 * until a run passes in which none struck. In it
 *
 *   1. `faults.during(async () => …)` does what is tried, and fails or not as the fault has it. Every write, sync, rename,
 *      making and removing that it does with `node:fs` or `node:fs/promises` below `faults.root` is a step, and so is each
 *      call of what `faults.wrap(name, object)` gave (a store, a database's door, a port). Timers and promises that it
 *      leaves behind still belong to it.
 *   2. After a death nothing of it has any effect any more, whatever it still tries: that process is gone. `faults.reset()`
 *      makes it the death of the machine: below the root only what was synced is left.
 *   3. What comes outside of `during` is the next run: it finds what is there, with no fault, and must repair it.
 *
 * `run` then checks what must hold after any fault at all. Its errors name the step: `dies at step 17 (rename 0001.tmp)`.
 */
export type Fault =
  /** The step does nothing and throws EIO, this one time. */
  | 'fails'
  /** Half of a write arrives, then ENOSPC. Only writes are steps. */
  | 'half'
  /** The step is done, and throws EIO all the same: whoever asked does not know. */
  | 'unanswered'
  /** The process ends before the step. */
  | 'dies'
  /** Half of a write arrives, then the process ends. Only writes are steps. */
  | 'torn'
  /** The process gets SIGKILL before the step: for a child of the test. */
  | 'killed'

export const faultKinds = ['fails', 'half', 'unanswered', 'dies', 'torn'] as const

const mostSteps = 100_000
const current = new AsyncLocalStorage<Faults>()

/** What a process that is no more would have done. */
export class ProcessDied extends Error {}

export interface FaultOptions {
  readonly kind: Fault
  /** The step at which it strikes, from 1; 0 for none. */
  readonly at: number
  /** Files below this folder are watched; nothing else of the file system is a step. */
  readonly root?: string
  /** Follows what was synced below the root, for `reset`. */
  readonly machine?: boolean
}

export class Faults {
  readonly kind: Fault
  readonly at: number
  readonly root: string | undefined
  steps = 0
  struck: string | undefined
  #dead = false
  #disk: Disk | undefined

  constructor({ kind, at, root, machine = false }: FaultOptions) {
    this.kind = kind
    this.at = at
    this.root = root
    if (root !== undefined) patchFileSystem(() => current.getStore())
    if (machine && root !== undefined) this.#disk = new Disk(root)
  }

  get dead(): boolean {
    return this.#dead
  }

  /** Does what is tried. @throws what it throws; also ProcessDied. */
  during<T>(run: () => Promise<T>): Promise<T> {
    return current.run(this, run)
  }

  /** Ends the process from outside, where it has not died by itself: nothing of it has an effect any more. */
  die(): void {
    this.#dead = true
  }

  /** What is there now is on the disk: what was made ready before the fault is no matter of it. */
  settle(): void {
    if (this.#disk !== undefined && this.root !== undefined) this.#disk = new Disk(this.root)
  }

  /** The machine lost its power: what was not synced is gone, or zeros where the file already had its length. */
  reset(tail: Tail = 'dropped'): void {
    if (this.#disk === undefined || this.root === undefined) throw new Error('nobody followed this disk: say machine')
    this.#dead = true
    const tails = this.#disk.lengths()
    rmSync(this.root, { recursive: true, force: true })
    this.#disk.restore(tail, tails)
  }

  /** The same object; each call of a method is a step. @param methods which; all of them where none is named. */
  wrap<T extends object>(name: string, target: T, methods?: readonly (keyof T & string)[]): T {
    return new Proxy(target, {
      get: (_, property) => {
        const value: unknown = Reflect.get(target, property, target)
        if (typeof value !== 'function') return value
        if (typeof property !== 'string' || (methods !== undefined && !methods.includes(property as keyof T & string)))
          return value.bind(target) as unknown
        return (...args: unknown[]) => this.step(`${name}.${property}`, () => value.apply(target, args) as unknown)
      },
    })
  }

  /** One step. @param half does half of it, where it is a write. */
  step<T>(what: string, run: () => T, half?: () => void): T {
    if (this.#dead) throw new ProcessDied(`${what}: the process is dead`)
    const onlyWrites = this.kind === 'half' || this.kind === 'torn'
    if (onlyWrites && half === undefined) return run()
    if (++this.steps !== this.at) return run()
    this.struck = what
    switch (this.kind) {
      case 'killed':
        process.kill(process.pid, 'SIGKILL')
        return run()
      case 'fails':
        throw fault('EIO', what)
      case 'unanswered': {
        const done = run()
        if (done instanceof Promise)
          return done.then(async value => {
            if (hasClose(value)) await value.close() // an open that nobody was told of
            throw fault('EIO', what)
          }) as T
        throw fault('EIO', what)
      }
      case 'half':
        half?.()
        throw fault('ENOSPC', what)
      case 'torn':
        half?.()
        this.#dead = true
        throw new ProcessDied(`${what}: the process died in it`)
      case 'dies':
        this.#dead = true
        throw new ProcessDied(`${what}: the process died before it`)
    }
  }

  /** A new file or folder has come to be. */
  made(path: string): void {
    this.#disk?.made(path)
  }

  /** Call it before a sync; what it returns, when the sync went well: what came in between may not be on the disk. */
  syncing(path: string): () => void {
    return this.#disk?.syncing(path) ?? (() => {})
  }

  /** Runs without any fault and without being a step: what a patched call does inside. */
  static outside<T>(run: () => T): T {
    return current.exit(run)
  }

  toString(): string {
    return `${this.kind} at step ${this.at}${this.struck === undefined ? '' : ` (${this.struck})`}`
  }
}

const hasClose = (value: unknown): value is { close(): Promise<void> } =>
  typeof value === 'object' && value !== null && 'close' in value && typeof value.close === 'function'

/** A folder for hundreds of runs: in memory where there is such a place, for a sync there costs nothing. */
export function folderForFaults(): string {
  const place = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  return mkdtempSync(join(place, 'sallyport-faults-'))
}

function fault(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: injected at ${what}`), { code })
}

/**
 * Runs with a fault at each step in turn, until two of them one after the other have fewer steps than that: how many there
 * are may differ by what else the machine does.
 * @param stride 1 for all; a slice of them with more. @returns how many steps a clean run has, or a slice came to.
 */
export async function everyFault(
  make: Omit<FaultOptions, 'at' | 'root'> & {
    readonly root?: (at: number) => string
    readonly from?: number
    readonly stride?: number
    /** At most so many runs, for a slice that does not go on until one passes clean. */
    readonly runs?: number
    /** So many at a time, where a run waits more than it works and shares nothing with the others. */
    readonly parallel?: number
  },
  run: (faults: Faults) => Promise<void>,
): Promise<number> {
  const { from = 1, stride = 1, runs = Number.POSITIVE_INFINITY, parallel = 1, root, ...options } = make
  let n = 0
  const clean = new Map<number, number>()
  let ended = false
  let furthest = 0
  let failed: Error | undefined
  const inTurn = async () => {
    while (n < runs && !ended && failed === undefined) {
      const at = from + stride * n++
      if (at > mostSteps) throw new Error('it never passes clean')
      const faults = new Faults({ ...options, at, ...(root === undefined ? {} : { root: root(at) }) })
      try {
        await run(faults)
      } catch (error) {
        const said = error instanceof Error ? error.message : String(error)
        failed ??= new Error(`${faults.toString()}: ${said}`, { cause: error })
      }
      if (faults.struck !== undefined) furthest = Math.max(furthest, at)
      else {
        clean.set(at, faults.steps)
        ended ||= clean.has(at - stride) || clean.has(at + stride)
      }
    }
  }
  await Promise.all(Array.from({ length: parallel }, inTurn))
  if (failed !== undefined) throw failed
  return Math.max(furthest, ...clean.values())
}
