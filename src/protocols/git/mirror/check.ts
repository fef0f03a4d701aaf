import { once } from 'node:events'
import { createWriteStream, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { finished } from 'node:stream/promises'
import { deflateSync } from 'node:zlib'
import type { Ended } from './confined.ts'
import { begun, type Git, Unreadable, whyGit } from './git.ts'
import { lookAgain, type Old } from './old.ts'
import { type Sources, seen, unseenIn } from './special.ts'

/** Ids of files that git looks into when a tree names them `.gitmodules` or `.gitattributes`: that many are told. */
const mostText = 8 << 20

export interface Checked {
  /** Of the objects that came. */
  readonly largest_bytes: number
}

/**
 * Checks the commits, trees and tags of a quarantine (fsck), and what they name `.gitmodules` or `.gitattributes`. While a pack
 * comes in git cannot: it demands those files even of a push that leaves them as they are, and neither the pack nor the mirror
 * has them. INVARIANT: what the target has under another name is looked at too: it may have come as anything. @throws PushFault
 */
export async function checkObjects(
  git: Git,
  at: Pick<Old, 'folder' | 'timeout_ms' | 'ignore' | 'resource'> & Sources & { readonly max_file: number },
): Promise<Checked> {
  const folder = join(at.folder, 'check')
  const [list, pack, objects] = ['ids', 'all.pack', 'objects'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  mkdirSync(objects, { recursive: true, mode: 0o700 })
  try {
    const { count, ...checked } = await listAll(git, list, at.timeout_ms)
    if (count === 0) return checked
    let ended = await fsck(git, list, pack, objects, at)
    const named = unseenIn(ended, pack)
    if (named.size > 0) {
      const here = await seen(git, named, at)
      writeFileSync(list, [...here].map(id => `${id}\n`).join(''), { flag: 'a' })
      // Harmless, or not to be had. An empty file stands for it, in a place that no other run of git looks at.
      for (const id of named.values()) if (!here.has(id)) standIn(objects, id)
      ended = await fsck(git, list, pack, objects, at)
      if (ended.status === 0 && ended.cut === undefined)
        at.harmless.add([...named].flatMap(([name, id]) => (here.has(id) ? name : [])))
    }
    if (ended.status !== 0 || ended.cut !== undefined) await lookAgain(git, ended, { ...at, folder })
    return checked
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Writes down all that is no file. @returns how many. */
async function listAll(git: Git, file: string, timeout_ms: number): Promise<Checked & { readonly count: number }> {
  const all = [
    'cat-file',
    '--batch-all-objects',
    '--batch-check=%(objectname) %(objecttype) %(objectsize)',
    '--unordered',
    '--buffer',
  ]
  const { stdout, ended, kill } = git.start(all, { alone: true, timeout_ms }, 'output')
  const out = createWriteStream(file, { mode: 0o600 })
  const done = finished(out)
  done.catch(() => {})
  let [count, largest_bytes] = [0, 0]
  try {
    for await (const line of createInterface(stdout!)) {
      const [, id, type, size] = /^([0-9a-f]{40,64}) (\w+) (\d+)$/.exec(line) ?? []
      if (id === undefined) throw new Unreadable('an object of the pack cannot be described')
      largest_bytes = Math.max(largest_bytes, Number(size))
      if (type === 'blob') continue
      count++
      if (!out.write(`${id}\n`)) await Promise.race([once(out, 'drain'), done])
    }
    out.end()
    await done
  } catch (error) {
    // Nobody reads on: it would wait for that, and hold its pipe.
    kill('abort')
    stdout!.destroy()
    throw error
  } finally {
    out.destroy()
  }
  const { status, cut, ...rest } = begun(await ended)
  if (status !== 0 || cut !== undefined) throw new Unreadable(whyGit({ status, cut, ...rest }))
  return { count, largest_bytes }
}

/** Among these objects alone: that they are known besides would only have each of them compared with itself. */
async function fsck(
  git: Git,
  list: string,
  pack: string,
  objects: string,
  { timeout_ms, max_file }: { readonly timeout_ms: number; readonly max_file: number },
): Promise<Ended> {
  await git.run(['pack-objects', '--quiet', '--window=0', '--stdout'], { from: list, to: pack, timeout_ms, max_file })
  const args = ['index-pack', '--fsck-objects', '-o', `${pack}.idx`, pack]
  const env = { GIT_OBJECT_DIRECTORY: objects, GIT_ALTERNATE_OBJECT_DIRECTORIES: '' }
  for (const end of ['.idx', '.rev']) rmSync(`${pack}${end}`, { force: true })
  return git.try(args, { env, timeout_ms, max_file, max_output: mostText, max_stderr: mostText })
}

function standIn(objects: string, id: string): void {
  const folder = join(objects, id.slice(0, 2))
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(join(folder, id.slice(2)), deflateSync('blob 0\0'))
}
