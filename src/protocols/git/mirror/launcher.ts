import { type ChildProcess, spawn } from 'node:child_process'
import { type Duplex, PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { faultMessage } from '../../../log.ts'

/** What a program gets as one of its descriptors: a pipe that we hold, a file, or nothing. */
export type Given = 'pipe' | { readonly path: string; readonly flags: 'r' | 'w' } | null

export interface Asked {
  readonly command: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** The leash comes behind them. */
  readonly stdio: readonly Given[]
}

export interface Launched {
  /** In the places where `stdio` says so. */
  readonly pipes: readonly (Duplex | undefined)[]
  /** `status` is null where it was killed, or never began: `why`. */
  readonly exited: Promise<Exited>
  /** It and all that it started. */
  kill(): void
}

export interface Exited {
  readonly status: number | null
  readonly why?: string
}

const program = fileURLToPath(new URL('./launch.js', import.meta.url))
/** 0 to 2, the channel on which it is told, the leash. */
const own = 5
/** The pipes of about 80 runs: they go with it to the process that starts them, and are used once. */
const pipes = 200
/** When so few are left, the next one is begun. */
const few = 40
const idle_ms = 60_000
/** One that does not say in time that it did as it was told ends with all that it started. */
const kill_ms = 5_000

/**
 * A small process that starts programs in the gateway's place: to start one copies the page tables of who starts it, which
 * takes a gateway of 300 MiB 10 to 40 ms in which no session goes on. INVARIANT: what it started ends when this process does, or
 * when it does itself.
 */
class Launcher {
  readonly #child: ChildProcess
  readonly #free: number[] = []
  readonly #leash: Duplex | undefined
  readonly #runs = new Map<number, (exited: Exited) => void>()
  /** Those that are to end, until it says that they were told. */
  readonly #late = new Map<number, NodeJS.Timeout>()
  #last = 0
  #over = false
  #idle: NodeJS.Timeout | undefined

  constructor() {
    const all = ['ignore', 'ignore', 'ignore', 'ipc', ...Array.from({ length: pipes + 1 }, () => 'pipe')] as 'pipe'[]
    this.#child = spawn(process.execPath, [program], { cwd: '/', env: {}, stdio: all, detached: true })
    // Before anything can fail: one that nobody hears ends the gateway.
    this.#child.on('error', () => this.#dead()).on('exit', () => this.#dead())
    if (this.#child.stdio === undefined) throw new Error('too many files and connections are open on the gateway')
    for (let i = own - 1; i < all.length; i++) {
      const pipe = this.#pipe(i)
      pipe.on('error', () => {}) // a program that does not read its input is not a fault
      unref(pipe)
      if (i >= own) this.#free.push(i)
    }
    this.#leash = this.#pipe(own - 1)
    this.#leash.resume()
    this.#child.unref()
    this.#child.channel?.unref()
    this.#child.on('message', (message: { killed: number } | (Exited & { run: number })) => {
      if ('killed' in message) this.#heard(message.killed)
      else this.#ended(message.run, message)
    })
    this.#rest()
  }

  get left(): number {
    return this.#over ? 0 : this.#free.length
  }

  start({ stdio, ...asked }: Asked): Launched {
    clearTimeout(this.#idle)
    const run = ++this.#last
    const given = stdio.map(each => (each === 'pipe' ? this.#free.pop()! : each))
    const exited = new Promise<Exited>(resolve => this.#runs.set(run, resolve))
    this.#child.send({ run, ...asked, stdio: given }, error => {
      if (error !== null) this.#dead()
    })
    const kill = () => {
      if (!this.#runs.has(run) || !this.#child.connected) return
      this.#child.send({ kill: run })
      if (!this.#late.has(run))
        this.#late.set(
          run,
          setTimeout(() => this.#child.kill('SIGKILL'), kill_ms),
        )
    }
    return { pipes: given.map(each => (typeof each === 'number' ? this.#pipe(each) : undefined)), exited, kill }
  }

  /** It starts nothing more, and ends when what it started has. */
  retire(): void {
    this.#over = true
    for (const i of this.#free.splice(0)) this.#pipe(i).destroy()
    if (this.#runs.size === 0 && this.#child.connected) this.#child.disconnect()
  }

  #heard(run: number): void {
    clearTimeout(this.#late.get(run))
    this.#late.delete(run)
  }

  #ended(run: number, exited: Exited): void {
    this.#heard(run)
    this.#runs.get(run)?.(exited)
    this.#runs.delete(run)
    if (this.#runs.size > 0) return
    if (this.#over) this.retire()
    else this.#rest()
  }

  #rest(): void {
    this.#idle = setTimeout(() => this.retire(), idle_ms)
    this.#idle.unref()
  }

  /** What it started hears of it by its leash. */
  #dead(): void {
    this.#over = true
    clearTimeout(this.#idle)
    this.#leash?.destroy()
    for (const i of this.#free.splice(0)) this.#pipe(i).destroy()
    for (const run of [...this.#runs.keys()]) this.#ended(run, { status: null, why: 'what started it has ended' })
  }

  #pipe(i: number): Duplex {
    return this.#child.stdio[i] as Duplex
  }
}

function unref(pipe: Duplex & { unref?: () => void }): void {
  pipe.unref?.()
}

let current: Launcher | undefined
let next: Launcher | undefined

/** Starts a program from a process that is small. A program that cannot be started has exited, and says why. */
export function launch(asked: Asked): Launched {
  const needs = asked.stdio.length
  try {
    if (current === undefined || current.left < needs) {
      current?.retire()
      current = next !== undefined && next.left >= needs ? next : new Launcher()
      next = undefined
    }
  } catch (error) {
    // This process has no room for more pipes, or none of it starts.
    const exited = Promise.resolve({ status: null, why: faultMessage(error) })
    return { pipes: asked.stdio.map(each => (each === 'pipe' ? ended() : undefined)), exited, kill: () => {} }
  }
  const launched = current.start(asked)
  try {
    if (current.left < few && (next === undefined || next.left === 0)) next = new Launcher()
  } catch {
    // What goes on has begun; whoever needs the next one hears of it.
  }
  return launched
}

/** Where there is nobody at the other end: nothing comes, and what is written is lost. */
function ended(): Duplex {
  const pipe = new PassThrough()
  pipe.on('error', () => {})
  return pipe.end()
}
