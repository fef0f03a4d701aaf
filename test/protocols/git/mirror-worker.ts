import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { alone } from '../../../src/protocols/git/mirror/lock.ts'
import { git, MirrorWorld, word } from './mirror-kit.ts'

/**
 * A worker that the tests kill: `STATE=ROOT…`. It says a word when it is in all of these states, and waits for its end.
 */
const by = { session_id: 'ses_killed', subject: 'ada' }
type State = (world: MirrorWorld, first: string, tip: string) => Promise<unknown>

const states: Readonly<Record<string, State>> = {
  /** Half of a pack is here, and git waits for the rest. */
  quarantined: async (world, _, tip) => {
    const quarantine = await world.mirrors.quarantine(world.repository, world.target(), by)
    const pack = world.pack([tip], [])
    await quarantine.write(pack.subarray(0, pack.length >> 1))
    await until(() => indexers(world).length > 0)
  },
  /** All of it is here, and git is not done with it. */
  indexing: async (world, _, tip) => {
    const quarantine = await world.mirrors.quarantine(world.repository, world.target(), by)
    const pack = world.pack([tip], [])
    await quarantine.write(pack.subarray(0, 20))
    await until(() => indexers(world).length > 0)
    for (const pid of indexers(world)) process.kill(pid, 'SIGSTOP')
    await quarantine.write(pack.subarray(20))
    quarantine.end()
  },
  /** What a force-push loses is kept, and the target has heard nothing yet, or everything. */
  preserved: async (world, first) => {
    const updates = [world.update('refs/heads/main', first)]
    const { quarantine } = await world.judged(updates)
    await quarantine.preserve(updates)
  },
  /** In the middle of writing into the mirror. */
  writing: async world => {
    const place = join(world.mirror(), '..')
    void alone(join(place, 'lock'), { ms: 10_000 }, async () => {
      for (const name of ['1/objects/pack/tmp_pack_x', '1/objects/pack/pack-abcd.pack', 'refs.json.1.new', '1/x.lock'])
        writeFileSync(join(place, name), 'half')
      await new Promise(() => {})
    })
    await until(() => readdirSync(place).includes('refs.json.1.new'))
  },
  /** New branches, one after the other. */
  pushing: async (world, first) => {
    const tree = word(world.clone, ['rev-parse', 'HEAD^{tree}'])
    const push = async (n: number) => {
      const id = word(world.clone, ['commit-tree', '-m', `${process.pid} ${n}`, '-p', first, tree])
      const ref = `refs/heads/${process.pid}-${n}`
      git(world.clone, ['update-ref', ref, id])
      await world.push([world.update(ref, id)])
    }
    await push(0)
    void (async () => {
      for (let n = 1; ; n++) await push(n)
    })()
  },
}

function indexers(world: MirrorWorld): number[] {
  return readdirSync('/proc').flatMap(name => {
    try {
      const of = (file: string) => readFileSync(`/proc/${name}/${file}`, 'utf8')
      const isGit = of('comm') === 'git\n' // and not the shell that ends it
      return isGit && of('cmdline').includes('index-pack') && of('environ').includes(world.folder) ? [Number(name)] : []
    } catch {
      return []
    }
  })
}

async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise(resolve => setTimeout(resolve, 10))
}

setInterval(() => {}, 1_000)
await Promise.all(
  process.argv.slice(2).map(async each => {
    const [state = '', root = ''] = each.split('=')
    const world = new MirrorWorld({ root })
    const of = (name: string) => word(world.clone, ['rev-parse', name])
    await states[state]!(world, of('HEAD~1'), of('HEAD'))
  }),
)
console.log('ready')
