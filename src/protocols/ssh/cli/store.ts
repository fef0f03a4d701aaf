import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SallyportError } from '../../../errors.ts'

const lockMs = { wait: 60_000, stale: 90_000, poll: 100 }

/** The files that ssh reads: one folder (0700) for each sign-in, one settings file for each alias. */
export class Store {
  readonly folder: string
  readonly config: string
  readonly knownHosts: string

  constructor(folder: string, profile: string) {
    this.folder = join(folder, 'ssh', profile.replace(/[^\w.-]/g, '_'))
    this.config = join(this.folder, 'config')
    this.knownHosts = join(this.folder, 'known_hosts')
    mkdirSync(join(this.folder, 'hosts'), { recursive: true, mode: 0o700 })
  }

  settings(alias: string): string {
    return join(this.folder, 'hosts', `${alias}.conf`)
  }

  /** Holds until when (Unix time) nobody need look again whether the alias's ticket works. */
  fresh(alias: string): string {
    return join(this.folder, 'hosts', `${alias}.fresh`)
  }

  /** What ssh runs. Clients such as ansible start ssh many times in a row: only the first asks. */
  get program(): string {
    return join(this.folder, 'ticket')
  }

  read(alias: string): string | undefined {
    try {
      return readFileSync(this.settings(alias), 'utf8')
    } catch {
      return undefined
    }
  }

  /** In one step: ssh reads the old file or the new one. */
  write(path: string, text: string, mode = 0o600): void {
    const next = `${path}.${process.pid}`
    writeFileSync(next, text, { mode })
    renameSync(next, path)
  }

  /** One process at a time for an alias; the others wait, and then find what it made. */
  async locked<T>(alias: string, run: () => Promise<T>): Promise<T> {
    const lock = join(this.folder, 'hosts', `${alias}.lock`)
    for (const until = Date.now() + lockMs.wait; !taken(lock); await sleep(lockMs.poll)) {
      if (Date.now() > until)
        throw new SallyportError('not_ready', `another process has been getting a ticket for ${alias} for a minute`, {
          remedy: 'try again',
        })
    }
    try {
      return await run()
    } finally {
      rmSync(lock, { recursive: true, force: true })
    }
  }
}

function taken(lock: string): boolean {
  try {
    mkdirSync(lock, { mode: 0o700 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  // Whoever died with it does not stand in the way for long.
  const made = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()
  if (Date.now() - made > lockMs.stale) rmSync(lock, { recursive: true, force: true })
  return false
}

/** One word for a person's shell, whichever it is. @throws for what cannot be one in all of them. */
export function shellWord(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word
  if (!/['"\n\r\\]/.test(word)) return `'${word}'`
  throw new SallyportError('unsupported', `shells cannot agree on a word with a quote or a backslash: ${word}`)
}

/** A value in ssh_config: quoted, and with nothing that it would expand. @throws for what it cannot say. */
export function quoted(path: string): string {
  if (/["\n\r\\]/.test(path))
    throw new SallyportError('unsupported', `ssh cannot read a path with a quote, a backslash or a line end: ${path}`)
  return `"${path.replaceAll('%', '%%')}"`
}
