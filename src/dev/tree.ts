import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { packageRoot } from '../db/package-root.ts'
import { SallyportError } from '../errors.ts'

const readyMs = 180_000 // a busy machine takes its time; one that ended is noticed at once
const stopMs = 12_000

/** Something of the tree that runs until it is stopped: a server in another process, or one in this. */
export interface Member {
  readonly name: string
  /** Resolves when it is gone. Absent for a part of this process. */
  readonly exited?: Promise<unknown>
  stop(): Promise<unknown>
}

export interface NodeChild extends Member {
  readonly pid: number
  readonly exited: Promise<string>
}

/** Why a tree is over. */
export interface Fall {
  readonly name: string
  readonly why: string
}

/**
 * Processes that live and die together. Whatever ends one (a crash, `kill -9`) ends the rest, last started first; and
 * when this process is the one that is killed, each member notices by the pipe it holds to us.
 */
export class Tree {
  readonly #logs: string
  readonly #members: Member[] = []
  #stopping: Promise<void> | undefined
  #fall!: (fall: Fall) => void
  /** Resolves when a member ended that nobody asked to stop, or `fall` was called. */
  readonly fallen: Promise<Fall>

  constructor(logs: string) {
    this.#logs = logs
    mkdirSync(logs, { recursive: true, mode: 0o700 })
    this.fallen = new Promise(resolve => (this.#fall = resolve))
  }

  /** Takes a running member in. A tree that is stopping already stops it at once. */
  async add<M extends Member>(member: M): Promise<M> {
    if (this.#stopping !== undefined) {
      await member.stop()
      throw stopped(member.name)
    }
    this.#members.push(member)
    void member.exited?.then(how => this.fall({ name: member.name, why: typeof how === 'string' ? how : 'it ended' }))
    return member
  }

  fall(fall: Fall): void {
    if (this.#stopping === undefined) this.#fall(fall)
  }

  /** Starts a Node process of ours; it is up when it says `{ready: true}`, and refused when it says `{problem}`. */
  async startNode(name: string, argv: readonly string[], env: NodeJS.ProcessEnv): Promise<NodeChild> {
    if (this.#stopping !== undefined) throw stopped(name)
    const log = this.logFile(name)
    if (existsSync(log)) renameSync(log, `${log}.1`)
    const out = openSync(log, 'w', 0o600)
    const preload = pathToFileURL(join(packageRoot(), 'src/dev/orphan.js')).href
    const child = spawn(process.execPath, ['--import', preload, ...argv], {
      env,
      detached: true, // a Ctrl-C in our terminal is ours to pass on, in order
      stdio: ['ignore', out, out, 'ipc'],
      serialization: 'advanced',
    })
    closeSync(out)
    const exited = new Promise<string>(resolve => {
      child.once('exit', (code, signal) =>
        resolve(signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`),
      )
      child.once('error', error => resolve(`it could not be started: ${error.message}`))
    })
    const member = await this.add({ name, pid: child.pid ?? 0, exited, stop: () => stopNode(child, exited) })
    const problem = await firstWord(child, exited)
    if (problem === undefined) return member
    if (this.#stopping !== undefined) throw stopped(name)
    throw new SallyportError('internal', `${name} did not start: ${problem}${tail(log)}`, {
      remedy: `its log is ${log}`,
    })
  }

  logFile(name: string): string {
    return join(this.#logs, `${name.replaceAll(/[^a-z0-9]+/gi, '-')}.log`)
  }

  /** Stops everything, last started first. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      for (const member of this.#members.toReversed()) await member.stop().catch(() => {})
    })()
    return this.#stopping
  }
}

function stopped(name: string): SallyportError {
  return new SallyportError('gone', `${name} was not started: the system is stopping`)
}

/** @returns what is wrong, or undefined when it is up. */
function firstWord(child: ChildProcess, exited: Promise<string>): Promise<string | undefined> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve(`it was not ready within ${readyMs / 1000} s`), readyMs)
    const settle = (problem: string | undefined) => {
      clearTimeout(timer)
      resolve(problem)
    }
    child.on('message', message => {
      const { ready, problem } = (typeof message === 'object' ? message : {}) as { ready?: unknown; problem?: unknown }
      if (typeof problem === 'string') settle(problem)
      else if (ready === true) settle(undefined)
    })
    void exited.then(settle)
  })
}

async function stopNode(child: ChildProcess, exited: Promise<string>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  child.kill('SIGTERM')
  const hard = setTimeout(() => {
    try {
      process.kill(-child.pid!, 'SIGKILL') // with the workers that it started
    } catch {
      // It ended in this moment.
    }
  }, stopMs)
  await exited
  clearTimeout(hard)
}

function tail(log: string): string {
  const text = readFileSync(log, 'utf8').trim()
  return text === '' ? '' : `\n${text.slice(-1_500)}`
}
