import { once } from 'node:events'
import { closeSync, createWriteStream, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { finished } from 'node:stream/promises'
import { deflateSync } from 'node:zlib'
import type { Ended } from './confined.ts'
import { type Git, Unreadable, whyGit } from './git.ts'
import { describe } from './objects.ts'
import { lookAgain, type Old } from './old.ts'

/** Ids of files that git looks into when a tree names them `.gitmodules` or `.gitattributes`: that many are asked about. */
const mostText = 8 << 20
const missing = /^(?:([0-9a-f]{40,64})|error: object ([0-9a-f]{40,64}): git(?:attributes|modules)Missing: .*)$/gm

/**
 * Checks the commits, trees and tags of a quarantine (fsck), and what they name `.gitmodules` or `.gitattributes`. While a pack
 * comes in git cannot: it demands those files even of a push that leaves them as they are, and neither the pack nor the mirror
 * has them. @throws PushFault
 */
export async function checkObjects(
  git: Git,
  at: Pick<Old, 'folder' | 'timeout_ms' | 'ignore' | 'resource'> & { readonly max_file: number },
): Promise<void> {
  const folder = join(at.folder, 'check')
  const [list, pack, objects] = ['ids', 'all.pack', 'objects'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  mkdirSync(objects, { recursive: true, mode: 0o700 })
  try {
    if ((await listAll(git, list, at.timeout_ms)) === 0) return
    let ended = await fsck(git, list, pack, objects, at)
    const named = new Set(
      [...`${ended.stdout.toString('latin1')}\n${ended.stderr}`.matchAll(missing)].map(m => m[1] ?? m[2]!),
    )
    if (named.size > 0) {
      const here = await describe(git, named)
      writeFileSync(list, [...here.keys()].map(id => `${id}\n`).join(''), { flag: 'a' })
      // Not of this push: the target has it. An empty file stands for it, in a place that no other run of git looks at.
      for (const id of named) if (!here.has(id)) standIn(objects, id)
      ended = await fsck(git, list, pack, objects, at)
    }
    if (ended.status === 0 && ended.cut === undefined) return
    await lookAgain(git, ended, { ...at, folder })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Writes down all that is no file. @returns how many. */
async function listAll(git: Git, file: string, timeout_ms: number): Promise<number> {
  const all = [
    'cat-file',
    '--batch-all-objects',
    '--batch-check=%(objectname) %(objecttype)',
    '--unordered',
    '--buffer',
  ]
  const { child, ended } = git.start(all, { alone: true, timeout_ms }, 'output')
  const out = createWriteStream(file, { mode: 0o600 })
  const done = finished(out)
  let count = 0
  for await (const line of createInterface(child.stdout!)) {
    const [id, type] = line.split(' ')
    if (type === 'blob') continue
    count++
    if (!out.write(`${id}\n`)) await Promise.race([once(out, 'drain'), done])
  }
  out.end()
  await done
  const { status, cut, ...rest } = await ended
  if (status !== 0 || cut !== undefined) throw new Unreadable(whyGit({ status, cut, ...rest }))
  return count
}

/** Among these objects alone: that they are known besides would only have each of them compared with itself. */
async function fsck(
  git: Git,
  list: string,
  pack: string,
  objects: string,
  { timeout_ms, max_file }: { readonly timeout_ms: number; readonly max_file: number },
): Promise<Ended> {
  const [from, to] = [openSync(list, 'r'), openSync(pack, 'w', 0o600)]
  try {
    await git.run(['pack-objects', '--quiet', '--window=0', '--stdout'], { from, to, timeout_ms, max_file })
  } finally {
    for (const each of [from, to]) closeSync(each)
  }
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
