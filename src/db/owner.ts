import { spawnSync } from 'node:child_process'
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { SallyportError } from '../errors.ts'

interface Owner {
  readonly pid: number
  /** When the process started, in the system's own words: a reused pid does not pass for its predecessor. */
  readonly started: string
}

/** Proof that this process alone uses a folder; given back by `release`, and void once the process is gone. */
export interface Ownership {
  release(): void
}

/**
 * Takes an owner file for this process.
 * @throws SallyportError `conflict` naming the pid when a living process holds it.
 */
export function takeOwnership(file: string, what: string): Ownership {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  const own: Owner = { pid: process.pid, started: startOf(process.pid) ?? '' }
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, JSON.stringify(own) + '\n', { mode: 0o600 })
  try {
    for (let attempt = 0; attempt < 5; attempt++) {
      if (placed(draft, file)) return { release: () => releaseOwnership(file, own) }
      const owner = ownerOf(file)
      if (owner !== undefined && lives(owner)) {
        throw new SallyportError('conflict', `${what} belongs to a running instance (pid ${owner.pid})`, {
          remedy: `stop it with \`kill ${owner.pid}\`, or choose another folder`,
          facts: { pid: owner.pid, file },
        })
      }
      removeStale(file, `${draft}.stale`)
    }
    throw new SallyportError('conflict', `${what} is being taken by another instance at this moment`)
  } finally {
    rmSync(draft, { force: true })
  }
}

/** The pid of the living owner of a file, or undefined. */
export function livingOwner(file: string): number | undefined {
  const owner = ownerOf(file)
  return owner !== undefined && lives(owner) ? owner.pid : undefined
}

/** Moves a dead owner's file aside. Another may have taken the place in between: then its file goes back. */
function removeStale(file: string, aside: string): void {
  try {
    renameSync(file, aside)
  } catch {
    return // somebody else removed it
  }
  const moved = ownerOf(aside)
  if (moved !== undefined && lives(moved)) placed(aside, file)
  rmSync(aside, { force: true })
}

function placed(draft: string, file: string): boolean {
  try {
    linkSync(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function releaseOwnership(file: string, own: Owner): void {
  const now = ownerOf(file)
  if (now?.pid === own.pid && now.started === own.started) rmSync(file, { force: true })
}

function ownerOf(file: string): Owner | undefined {
  try {
    const owner = JSON.parse(readFileSync(file, 'utf8')) as Partial<Owner>
    if (Number.isSafeInteger(owner.pid) && owner.pid! > 0) return { pid: owner.pid!, started: String(owner.started) }
  } catch {
    // An absent or torn file has no owner.
  }
  return undefined
}

function lives(owner: Owner): boolean {
  const started = startOf(owner.pid)
  return started !== undefined && started === owner.started
}

/** When a process started, or undefined when there is none (a zombie counts as gone). */
export function startOf(pid: number): string | undefined {
  if (process.platform === 'linux') {
    try {
      // proc(5): after the last ')' come state (field 3) and, 19 further on, the start time (field 22).
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')
      return fields[0] === 'Z' ? undefined : fields[19]
    } catch {
      return undefined
    }
  }
  const ps = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
  return ps.status === 0 ? ps.stdout.trim() : undefined
}
