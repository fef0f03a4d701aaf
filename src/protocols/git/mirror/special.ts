import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { faultMessage } from '../../../log.ts'
import { PushFault } from '../push.ts'
import { Unadvertised } from './bring.ts'
import type { Ended } from './confined.ts'
import type { Git } from './git.ts'
import type { Harmless } from './harmless.ts'
import { describe } from './objects.ts'

/** Files that git itself reads: `.gitmodules` and `.gitattributes`. What has one of these names now may have come as anything. */

const missing = /^(?:([0-9a-f]{40,64})|error: object ([0-9a-f]{40,64}): (git(?:attributes|modules))Missing: .*)$/gm
/** Files of the target's that are looked at in one push. */
const mostAway = 10_000

/** What trees of a pack name so and it does not bring, as `index-pack` tells it: ids by their name and id. */
export function unseenIn({ stdout, stderr }: Ended, pack: string): ReadonlyMap<string, string> {
  const lines = [...`${stdout.toString('latin1')}\n${stderr}`.matchAll(missing)]
  const own = endOf(pack, 32).toString('hex') // git tells the pack's own hash as well
  return new Map(
    lines.flatMap(([, module, other, kind = 'gitmodules']) => {
      const id = module ?? other!
      return module !== undefined && own.endsWith(id) ? [] : [[`${kind} ${id}`, id] as const]
    }),
  )
}

function endOf(path: string, bytes: number): Buffer {
  const file = openSync(path, 'r')
  try {
    const end = Buffer.alloc(bytes)
    readSync(file, end, 0, bytes, Math.max(0, fstatSync(file).size - bytes))
    return end
  } finally {
    closeSync(file)
  }
}

export interface Sources {
  readonly harmless: Harmless
  /** Brings files of the target into the quarantine. */
  readonly bring: (ids: readonly string[]) => Promise<unknown>
}

/** @returns those that are here now, brought from the target. Where a server hands out nothing by its id they stay unseen. */
export async function seen(
  git: Git,
  named: ReadonlyMap<string, string>,
  { harmless, bring }: Sources,
): Promise<ReadonlySet<string>> {
  const here = async () => new Set((await describe(git, named.values())).keys())
  const known = await here()
  const unknown = harmless.unknown([...named].flatMap(([name, id]) => (known.has(id) ? [] : name)))
  const away = new Set([...unknown].map(name => named.get(name)!))
  if (away.size === 0) return known
  if (away.size > mostAway)
    throw new PushFault(
      'too_large',
      'the push names more of git’s own files than are looked at',
      'push in smaller parts',
    )
  try {
    await bring([...away])
  } catch (error) {
    if (error instanceof Unadvertised) return known
    if (error instanceof PushFault) throw error
    throw notGiven([...away][0]!, faultMessage(error))
  }
  const now = await here()
  for (const id of away) if (!now.has(id)) throw notGiven(id, 'it says nothing of it')
  return now
}

const notGiven = (id: string, why: string) =>
  new PushFault(
    'bad_pack',
    `the push names an object .gitmodules or .gitattributes (${id.slice(0, 12)}) that it does not bring and that the server does not give: ${why}`,
    'push again; if it happens again, look at it with `git fsck`',
  )
