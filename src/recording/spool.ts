import { readFileSync, readlinkSync } from 'node:fs'
import { access, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { isId } from '../ids.ts'

/**
 * The spool: one folder for each process that journals, named by its process id, with one `owner.<host>.<pid>.<start>` file.
 * Whoever renames that file owns the folder; of two that try, one finds it gone.
 */
export interface SpoolFolder {
  readonly path: string
  readonly process_id: string
  readonly owner: Owner
  readonly bytes: number
}

interface Owner {
  readonly file: string
  readonly host: string
  readonly pid: number
  readonly start: string
}

/** Makes this process's own folder. */
export async function createSpool(root: string, processId: string): Promise<string> {
  const path = join(root, processId)
  await mkdir(path, { recursive: true, mode: 0o700 })
  await writeFile(join(path, await ownName()), '', { mode: 0o600, flag: 'wx' })
  return path
}

/** Whether this process's folder is still its own: another one renames the owner file when it takes a folder over. */
export async function ownsSpool(path: string): Promise<boolean> {
  try {
    await access(join(path, await ownName()))
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT'
  }
}

/** The folders of other processes. */
export async function otherSpools(root: string, own: string): Promise<SpoolFolder[]> {
  const found: SpoolFolder[] = []
  for (const name of await readdir(root).catch(() => [])) {
    if (name === own || !isId('prc', name)) continue
    const path = join(root, name)
    const files = await readdir(path).catch(() => [])
    const owner = files.map(parseOwner).find(parsed => parsed !== undefined)
    if (owner === undefined) continue
    let bytes = 0
    for (const file of files) bytes += (await stat(join(path, file)).catch(() => undefined))?.size ?? 0
    found.push({ path, process_id: name, owner, bytes })
  }
  return found
}

/** `elsewhere`: another host, or another boot of this one that cannot be told apart; the database knows. */
export async function ownerState(owner: Owner): Promise<'alive' | 'dead' | 'elsewhere'> {
  if (owner.host !== hostName()) return 'elsewhere'
  return (await startOf(owner.pid)) === owner.start ? 'alive' : 'dead'
}

/** Takes a dead process's folder over. @returns false when somebody else was faster. */
export async function claimSpool(folder: SpoolFolder): Promise<boolean> {
  try {
    await rename(join(folder.path, folder.owner.file), join(folder.path, await ownName()))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** The journal files of a folder, oldest first. */
export async function journalFiles(path: string): Promise<string[]> {
  const names = (await readdir(path)).filter(name => /^\d{8}\.journal$/.test(name)).sort()
  return names.map(name => join(path, name))
}

export async function removeSpool(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}

async function ownName(): Promise<string> {
  return `owner.${hostName()}.${process.pid}.${await startOf(process.pid)}`
}

/**
 * This host, this boot of it, and this namespace of processes: a pid says who lives only where all three are the same. Two
 * containers may share a host name and a volume, and see nothing of each other's processes.
 */
function hostName(): string {
  const parts = [hostname(), read(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8))]
  parts.push(read(() => readlinkSync('/proc/self/ns/pid').replaceAll(/\D/g, '')))
  return parts.join('-').replaceAll(/[^A-Za-z0-9-]/g, '-')
}

/** What other systems than Linux do not say is left empty. */
function read(what: () => string): string {
  try {
    return what()
  } catch {
    return ''
  }
}

function parseOwner(file: string): Owner | undefined {
  const [, host, pid, start] = /^owner\.([A-Za-z0-9-]*)\.(\d+)\.(\d+)$/.exec(file) ?? []
  if (host === undefined || pid === undefined || start === undefined) return undefined
  return { file, host, pid: Number(pid), start }
}

/** When a process began, in ticks since boot, so that a reused pid is not taken for it; '0' where the system does not say. */
async function startOf(pid: number): Promise<string | undefined> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (line !== undefined) return line.slice(line.lastIndexOf(')') + 2).split(' ')[19]
  try {
    process.kill(pid, 0)
    return process.platform === 'linux' ? undefined : '0'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? '0' : undefined
  }
}
