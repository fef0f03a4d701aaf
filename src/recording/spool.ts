import { constants, existsSync } from 'node:fs'
import { access, lstat, mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { bootOf, ownerPattern, ownName, stateOfOwner } from '../db/owner-name.ts'
import { isId } from '../ids.ts'
import { isFolder } from '../regular-file.ts'
import { syncFolder } from './journal-fs.ts'

/**
 * The spool: one folder for each process that journals, named by its process id, with one `owner.<host>.<pid>.<start>` file.
 * Whoever renames that file owns the folder; of two that try, one finds it gone. INVARIANT: nothing in it is reached by a
 * link, nor is it: whoever can put one there must not lead us to what is not ours.
 */
export interface SpoolFolder {
  readonly path: string
  readonly process_id: string
  readonly owner: Owner
  readonly bytes: number
}

const otherBoot = 'other-boot'

interface Owner {
  readonly file: string
  readonly name: string
}

/** Makes this process's own folder. INVARIANT: it is on the disk before anything in it is, or a sync in it would promise nothing. */
export async function createSpool(root: string, processId: string): Promise<string> {
  const path = join(root, processId)
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  if (!(await isFolder(path))) throw new Error(`${path} is no folder, but a link to one`)
  await writeFile(join(path, ownFile()), '', { mode: 0o600, flag: 'wx' })
  await syncFolder(path)
  for (let at = path; made !== undefined && at.length >= made.length; at = dirname(at)) await syncFolder(dirname(at))
  return path
}

/** Whether this process's folder is still its own: another one renames the owner file when it takes a folder over. */
export async function ownsSpool(path: string): Promise<boolean> {
  try {
    await access(join(path, ownFile()))
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT'
  }
}

/** The same at once, for who is about to write and was away for a while. */
export function ownsSpoolNow(path: string): boolean {
  return existsSync(join(path, ownFile()))
}

/** The folders of other processes. */
export async function otherSpools(root: string, own: string): Promise<SpoolFolder[]> {
  const found: SpoolFolder[] = []
  for (const name of await readdir(root).catch(() => [])) {
    if (name === own || !isId('prc', name)) continue
    const path = join(root, name)
    if (!(await isFolder(path))) continue
    const files = await readdir(path).catch(() => [])
    const owner = files.map(parseOwner).find(parsed => parsed !== undefined)
    if (owner === undefined) continue
    let bytes = 0
    for (const file of files) bytes += (await lstat(join(path, file)).catch(() => undefined))?.size ?? 0
    found.push({ path, process_id: name, owner, bytes })
  }
  return found
}

const unclaimed = '.unclaimed'

/** Puts a folder aside of which records belong to nothing that is known: nothing is thrown away. @returns its new path. */
export async function putAside(path: string): Promise<string> {
  await rename(path, path + unclaimed)
  return path + unclaimed
}

/** Names of folders that were put aside. */
export async function unclaimedSpools(root: string): Promise<string[]> {
  const names = await readdir(root).catch(() => [])
  return names.filter(name => name.endsWith(unclaimed)).sort()
}

/** `elsewhere`: another host, or another boot of this one that cannot be told apart; the database knows. */
export async function ownerState(owner: Owner): Promise<'alive' | 'dead' | 'elsewhere'> {
  return stateOfOwner(owner.name)
}

/** Takes a dead process's folder over. @returns false when somebody else was faster. */
export async function claimSpool(folder: SpoolFolder): Promise<boolean> {
  try {
    // Whoever goes on with it, should this process die too, must know that its end may never have reached the disk.
    if (bootOf(folder.owner.name) !== bootOf(ownName())) await mark(join(folder.path, otherBoot))
    await rename(join(folder.path, folder.owner.file), join(folder.path, ownFile()))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** What lies there already says it too. */
async function mark(path: string): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
  const file = await open(path, flags, 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await file?.close()
}

/** Whether this process owns a folder. */
export function isOurs(folder: SpoolFolder): boolean {
  return folder.owner.file === ownFile()
}

/** Whether the machine went down since: then what its process had not synced is gone, and nobody knows how much that was. */
export async function isOfOtherBoot(path: string): Promise<boolean> {
  return (await readdir(path)).includes(otherBoot)
}

/** The journal files of a folder, oldest first. */
export async function journalFiles(path: string): Promise<string[]> {
  const names = (await readdir(path)).filter(name => /^\d{8}\.journal$/.test(name)).sort()
  return names.map(name => join(path, name))
}

export async function removeSpool(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}

function ownFile(): string {
  return `owner.${ownName()}`
}

const owners = new RegExp(`^owner\\.(${ownerPattern})$`)

function parseOwner(file: string): Owner | undefined {
  const name = owners.exec(file)?.[1]
  return name === undefined ? undefined : { file, name }
}
