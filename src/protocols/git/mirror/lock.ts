import { hash } from 'node:crypto'
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { startOf } from '../../../db/owner.ts'
import { SallyportError } from '../../../errors.ts'

const retry_ms = 20

/** Who a process is: numbers of processes are used again, also at the same time after a restart of the machine. */
export const self = `${process.pid} ${lifeOf(process.pid)}`

function lifeOf(pid: number): string | undefined {
  const start = startOf(pid)
  return start === undefined ? undefined : hash('sha256', `${boot()} ${start}`).slice(0, 16)
}

function boot(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  } catch {
    return ''
  }
}

/** Whether the process that named itself so still lives. */
export function isAlive(who: string): boolean {
  const [, pid, life] = /^(\d{1,10}) ([0-9a-f]{16})$/.exec(who.trim()) ?? []
  return pid !== undefined && lifeOf(Number(pid)) === life
}

const queues = new Map<string, Promise<unknown>>()

/**
 * One at a time among everything that runs on this machine: the tasks of this process by a queue, the workers by a file.
 * `inherited`: whoever had it before died in the middle of it.
 */
export async function alone<X>(
  file: string,
  wait: { readonly ms: number; readonly signal?: AbortSignal | undefined },
  run: (inherited: boolean) => Promise<X>,
): Promise<X> {
  const before = queues.get(file) ?? Promise.resolve()
  const mine = before.then(async () => {
    wait.signal?.throwIfAborted()
    const inherited = await take(file, wait)
    try {
      return await run(inherited)
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

async function take(file: string, wait: { ms: number; signal?: AbortSignal | undefined }): Promise<boolean> {
  for (const until = performance.now() + wait.ms; !create(file); await sleep(retry_ms)) {
    wait.signal?.throwIfAborted()
    if (inherit(file)) return true
    if (performance.now() > until)
      throw new SallyportError('not_ready', 'the gateway is busy with this repository for another push', {
        remedy: 'push again in a few minutes',
      })
  }
  return false
}

/**
 * Takes the lock of a dead owner, if it has one: it is this process's then. INVARIANT: one thief at a time, so that none
 * takes it from the one before.
 */
export function inherit(file: string): boolean {
  if (!isDead(file)) return false
  const mark = `${file}.steal`
  if (!create(mark)) {
    if (isDead(mark)) putAside(mark)
    return false
  }
  try {
    if (!isDead(file)) return false
    const draft = draftOf(file)
    writeFileSync(draft, self, { mode: 0o600 })
    renameSync(draft, file)
    return true
  } finally {
    rmSync(mark, { force: true })
  }
}

/** What dead processes left of a lock in its folder; the lock itself is inherited. */
export function isLeftOver(folder: string, name: string): boolean {
  const [, pid] = /^(?:lock|fetch)(?:\.steal)?\.(\d+)(?:\.dead)?$/.exec(name) ?? []
  if (pid === undefined) return false
  // One that is being written has no name in it yet.
  const owner = read(`${folder}/${name}`)
  return owner === undefined || owner === '' ? startOf(Number(pid)) === undefined : !isAlive(owner)
}

function isDead(file: string): boolean {
  const owner = read(file)
  return owner !== undefined && !isAlive(owner)
}

/** A thief died in the middle. Another may have taken its place in between: that one's mark goes back. */
function putAside(mark: string): void {
  const aside = `${draftOf(mark)}.dead`
  try {
    renameSync(mark, aside)
    if (!isDead(aside)) linkSync(aside, mark)
  } catch {
    // somebody else was first
  }
  rmSync(aside, { force: true })
}

const draftOf = (file: string): string => `${file}.${process.pid}`

/** It is there with its owner's name in it, or it is not there. */
function create(file: string): boolean {
  const draft = draftOf(file)
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
