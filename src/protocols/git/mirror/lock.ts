import { linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { SallyportError } from '../../../errors.ts'

const retry_ms = 20
/** A theft takes no time at all: who left its mark behind died in the middle. */
const theft_ms = 10_000

/** Who a process is: numbers of processes are used again, their starts are not. */
export const self = identity(process.pid)

function identity(pid: number): string {
  return `${pid} ${startOf(pid) ?? '-'}`
}

function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

/** Whether the process that named itself so still lives. */
export function isAlive(who: string): boolean {
  const [, pid, start] = /^(\d{1,10}) (\d+|-)$/.exec(who.trim()) ?? []
  if (pid === undefined) return false
  if (start !== '-') return startOf(Number(pid)) === start
  try {
    process.kill(Number(pid), 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

const queues = new Map<string, Promise<unknown>>()

/** One at a time among everything that runs on this machine: the tasks of this process by a queue, the workers by a file. */
export async function alone<X>(
  file: string,
  wait: { readonly ms: number; readonly signal?: AbortSignal | undefined },
  run: () => Promise<X>,
): Promise<X> {
  const before = queues.get(file) ?? Promise.resolve()
  const mine = before.then(async () => {
    wait.signal?.throwIfAborted()
    await take(file, wait)
    try {
      return await run()
    } finally {
      rmSync(file, { force: true })
    }
  })
  const settled = mine.catch(() => {})
  queues.set(file, settled)
  void settled.then(() => {
    if (queues.get(file) === settled) queues.delete(file)
  })
  return mine
}

async function take(file: string, wait: { ms: number; signal?: AbortSignal | undefined }): Promise<void> {
  for (const until = performance.now() + wait.ms; !create(file); await sleep(retry_ms)) {
    wait.signal?.throwIfAborted()
    const owner = read(file)
    if (owner !== undefined && !isAlive(owner)) steal(file)
    if (performance.now() > until)
      throw new SallyportError('not_ready', 'the gateway is busy with this repository for another push', {
        remedy: 'push again in a few minutes',
      })
  }
}

/** INVARIANT: a lock is taken from a dead owner by one thief at a time, so that no thief takes it from the one before. */
function steal(file: string): void {
  const mark = `${file}.steal`
  const old = statSync(mark, { throwIfNoEntry: false })?.mtimeMs
  if (old !== undefined && Date.now() - old > theft_ms) rmSync(mark, { force: true })
  if (!create(mark)) return
  try {
    const owner = read(file)
    if (owner !== undefined && !isAlive(owner)) rmSync(file, { force: true })
  } finally {
    rmSync(mark, { force: true })
  }
}

/** It is there with its owner's name in it, or it is not there. */
function create(file: string): boolean {
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, self, { mode: 0o600 })
  try {
    linkSync(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    rmSync(draft, { force: true })
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return undefined
  }
}
