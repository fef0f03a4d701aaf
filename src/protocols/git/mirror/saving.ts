import { join } from 'node:path'
import { faultMessage, logger } from '../../../log.ts'
import type { RefUpdate, TargetSide } from '../push.ts'
import { bring } from './bring.ts'
import type { Git } from './git.ts'
import { type Reached, Walk } from './history.ts'
import type { MirrorLimits } from './limits.ts'
import { type By, type LostTip, tip } from './lost.ts'
import { type Described, describe } from './objects.ts'
import { writeBundle } from './packing.ts'
import type { Whose } from './store.ts'

const log = logger('gateway')

export interface Saving {
  readonly git: Git
  readonly target: TargetSide
  readonly limits: MirrorLimits
  readonly by: By
  /** Of the push: it goes with it. */
  readonly folder: string
  readonly signal: AbortSignal
  /** The disk has room for more. */
  hasRoom(): boolean
}

/** What an update would lose, and its bundle: null where there is none, and the tip says why. */
export interface Saved {
  readonly tip: LostTip
  readonly file: string | null
}

type How = Saving & { readonly whose: Whose }

/**
 * Makes a bundle of what each of these updates would lose, while the target still has its files: they are fetched. What
 * cannot be had, or is too large, is told as not kept: policy says whether it goes on.
 */
export async function* save(
  losing: readonly RefUpdate[],
  how: How,
  isSaved: (update: RefUpdate) => boolean,
): AsyncGenerator<Saved> {
  const refs = new Set(losing.map(each => each.ref))
  const left = [...how.target.refs].filter(([ref]) => ref !== 'HEAD' && !refs.has(ref)).map(([, id]) => id)
  const known = await describe(how.git, [...left, ...losing.flatMap(each => [each.old ?? [], each.new ?? []].flat())])
  const rest = [...new Set(left)].filter(id => known.has(id))
  const news = losing.flatMap(each => each.new ?? []).filter(id => known.has(id))
  const many = losing.length > 1
  const fetched = many && how.hasRoom() && (await fetchAll(losing, [...rest, ...news], known, how))
  const commits = losing.flatMap(({ old }) => (old !== null && known.get(old)?.type === 'commit' ? [old] : []))
  const walk = many && commits.length > 0 ? await Walk.of(how.git, commits, rest) : undefined
  for (const update of losing) {
    const { ref, old, new: id } = update
    if (old === null || !known.has(old) || isSaved(update)) continue
    const made = { ...tip(ref, old, id, id === null ? 'delete' : 'force'), by: how.by }
    const { type } = known.get(old)!
    const stays = id !== null && known.has(id)
    const reached = type === 'commit' ? walk?.from(old, 0) : undefined
    yield await saveOne(
      made,
      {
        type,
        tips: stays ? [...rest, id] : rest,
        // Of a force its own new commit keeps some, which the walk of all does not know; what others keep is kept.
        reached: stays && reached?.total !== 0 ? undefined : reached,
        fetched: fetched && news.length === 0,
      },
      how,
    )
  }
}

/** What is known of a loss before it is saved. */
interface Loss {
  readonly type: string
  /** What reaches none of it. */
  readonly tips: readonly string[]
  readonly reached: Extent | undefined
  /** Its files are here. */
  readonly fetched: boolean
}

type Extent = Pick<Reached, 'total' | 'edges'>

async function saveOne(made: LostTip, { type, tips, ...known }: Loss, how: How): Promise<Saved> {
  const { git, limits, signal } = how
  const input = `${[made.old, ...tips.map(id => `^${id}`)].join('\n')}\n`
  const reached = known.reached ?? (await walked(git, input, signal))
  const [commits, boundary] = [reached.total, [...reached.edges]]
  const not = (without: string): Saved => ({ file: null, tip: { ...made, commits, bytes: null, without } })
  if (commits === 0 && (type !== 'tag' || tips.includes(made.old))) return not('all of it is reached by other refs')
  // A full disk would end every session of this gateway, and who pushes can make any number of losses.
  if (!how.hasRoom()) return not('the gateway had no room for its files')
  // Of an annotated tag the commit stays: who brings it back needs that.
  if (commits === 0) boundary.push((await git.text(['rev-parse', '--verify', `${made.old}^{}`], { signal })).trim())
  const file = join(how.folder, `${made.id}.bundle`)
  try {
    if (!known.fetched) await bringFiles(input, how)
    const packing = { of: [made.old], without: tips, timeout_ms: limits.sync_ms, signal }
    const bytes = await writeBundle(git, {
      ...packing,
      ref: made.ref,
      tip: made.old,
      boundary,
      file,
      most: limits.lost_bytes,
    })
    if (bytes === undefined) return not('its files are larger than the gateway keeps')
    return { file, tip: { ...made, commits, bytes, without: null } }
  } catch (error) {
    if (signal.aborted) throw error
    log.warn(
      { ...how.whose, ref: made.ref, reason: faultMessage(error) },
      'what a push loses is kept without its files',
    )
    return not(faultMessage(error).slice(0, 300))
  }
}

/** For many at once: one way to the target in the place of one for each. What it does not bring each asks for itself. */
async function fetchAll(
  losing: readonly RefUpdate[],
  without: readonly string[],
  known: ReadonlyMap<string, Described>,
  how: How,
): Promise<boolean> {
  const olds = losing.flatMap(each => each.old ?? []).filter(id => known.has(id))
  if (olds.length === 0) return false
  try {
    await bringFiles(`${[...olds, ...without.map(id => `^${id}`)].join('\n')}\n`, how)
    return true
  } catch (error) {
    log.info({ ...how.whose, reason: faultMessage(error) }, 'what a push loses is not to be had at once')
    return false
  }
}

/** The files that are reached so and not here. */
async function bringFiles(input: string, { git, limits, target, signal }: How): Promise<void> {
  const walk = ['rev-list', '--objects', '--no-object-names', '--missing=print', '--stdin']
  const objects = (await git.text(walk, { input, signal, max_output: 256 << 20 })).split('\n')
  const missing = objects.filter(line => line.startsWith('?')).map(line => line.slice(1))
  if (missing.length === 0) return
  const how = { limits, timeout_ms: limits.sync_ms, max_file: limits.lost_bytes, signal }
  await bring(git, target, missing, how)
}

async function walked(git: Git, input: string, signal: AbortSignal): Promise<Extent> {
  const listed = await git.text(['rev-list', '--boundary', '--stdin'], { input, signal })
  const lines = listed.split('\n').filter(line => line !== '')
  const edges = new Set(lines.filter(line => line.startsWith('-')).map(line => line.slice(1)))
  return { total: lines.length - edges.size, edges }
}
