import { SallyportError } from '../../errors.ts'
import { SourceCollector, type Sources } from './sources.ts'

/** Runs git in a repository. @returns what it wrote; throws where it failed. */
export type RunGit = (args: readonly string[], input?: string) => Promise<Buffer>

/** The sources of a tree, read as objects. @throws Refused when it holds what we do not read. */
export async function readTree(run: RunGit, tree: string): Promise<Sources> {
  const listing = (await run(['ls-tree', '-r', '-l', '-z', '--full-tree', tree])).toString('utf8')
  const collector = new SourceCollector()
  const wanted: { path: string; id: string }[] = []
  for (const line of listing.split('\0').filter(l => l !== '')) {
    const [, mode, id, size, path] = /^(\d{6}) \w+ ([0-9a-f]+) +(\d+|-)\t(.*)$/s.exec(line) ?? []
    if (mode === undefined || id === undefined || path === undefined) throw unreadable('its tree cannot be read')
    const kind = mode === '160000' ? 'module' : mode === '120000' ? 'link' : 'file'
    if (collector.wants(path, kind, Number(size) || 0)) wanted.push({ path, id })
  }
  const blobs = await readBlobs(
    run,
    wanted.map(w => w.id),
  )
  for (const [i, { path }] of wanted.entries()) collector.add(path, blobs[i]!)
  return collector.done()
}

/** `git cat-file --batch`: `<id> blob <size>\n<bytes>\n` for each line asked. */
async function readBlobs(run: RunGit, ids: readonly string[]): Promise<Buffer[]> {
  if (ids.length === 0) return []
  const out = await run(['cat-file', '--batch'], ids.join('\n') + '\n')
  const blobs: Buffer[] = []
  for (let at = 0; blobs.length < ids.length; ) {
    const line = out.subarray(at, out.indexOf(10, at)).toString('latin1')
    const size = Number(/^[0-9a-f]+ blob (\d+)$/.exec(line)?.[1] ?? Number.NaN)
    if (!Number.isSafeInteger(size)) throw unreadable('an object of its tree cannot be read')
    at += line.length + 1
    blobs.push(Buffer.from(out.subarray(at, at + size)))
    at += size + 1
  }
  return blobs
}

function unreadable(why: string): SallyportError {
  return new SallyportError('policy_unavailable', `the policy repository cannot be read: ${why}`)
}
