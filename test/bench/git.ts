import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { forgeEntry, type GitWay, gatewayWay, straight } from './git/ways.ts'
import { figure, median } from './live/figure.ts'
import { rssMiB } from './live/memory.ts'
import { System } from './live/system.ts'

/**
 * `npm run bench -- git [--mib N] [--push N] [--large N] [--rounds N] [--small N] [--clients N]`: the real git straight to a
 * real sshd and through Sallyport, every ref update known and judged before the server sees it. The ways take turns, and each figure is the
 * median over its pairs. One JSON line a figure.
 */
const given = (name: string, otherwise: number) => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? otherwise : Number(process.argv[at + 1])
}
const settings = {
  mib: given('mib', 256),
  push: given('push', 100),
  large: given('large', 1024),
  rounds: given('rounds', 3),
  small: given('small', 9),
  clients: given('clients', 8),
}
/** What each of the clients at once pushes. */
const pushes = 4
const budget = { clone: 0.6, push: 0.4, small_ms: 300, memory_MiB: 64 }

const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-git-'))
const repositories = join(folder, 'repositories')
const work = join(folder, 'work')

/** Not one after the other with all else that goes on in this process, as `spawnSync` would: people's groups are asked for here. */
async function git(
  cwd: string,
  args: readonly string[],
  env: Record<string, string> = {},
  input?: Buffer,
): Promise<string> {
  const child = spawn('git', [...args], {
    cwd,
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_AUTHOR_NAME: 'bench',
      GIT_AUTHOR_EMAIL: 'bench@example.test',
      GIT_COMMITTER_NAME: 'bench',
      GIT_COMMITTER_EMAIL: 'bench@example.test',
      ...env,
    },
  })
  child.stdin.on('error', () => {}).end(input)
  let [out, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', text => (out += text))
  child.stderr.setEncoding('utf8').on('data', text => (errors += text))
  const [status] = await once(child, 'close')
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${errors}`)
  return out.trim()
}

const timed = async (run: () => Promise<unknown>): Promise<number> => {
  const started = performance.now()
  await run()
  return (performance.now() - started) / 1000
}

/** Many commits of many files, half of the bytes in each of two branches; nothing in it can be made smaller. */
async function makeLarge(path: string, mib: number): Promise<void> {
  await git(folder, ['init', '-q', '--bare', '-b', 'main', path])
  const bytes = 32 << 10
  const half = Math.ceil((mib * (1 << 20)) / bytes / 2)
  const chunks: Buffer[] = []
  for (let i = 0; i < half * 2; i++) {
    const head = `commit refs/heads/${i < half ? 'main' : 'more'}\ncommitter b <b@example.test> ${1_700_000_000 + i} +0000\ndata 1\nx\n${i === half ? 'from refs/heads/main\n' : ''}M 100644 inline d${i % 100}/f${i}\ndata ${bytes}\n`
    chunks.push(Buffer.from(head), randomBytes(bytes), Buffer.from('\n'))
  }
  await git(path, ['fast-import', '--quiet'], {}, Buffer.concat(chunks))
}

const system = await System.start({ shopConnections: 20 })
try {
  figure(
    'git',
    `machine: ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`,
    cpus().length,
    'cores',
  )
  mkdirSync(repositories)
  await makeLarge(join(repositories, 'large.git'), settings.mib)
  await git(folder, ['init', '-q', '--bare', '-b', 'main', join(repositories, 'app.git')])
  await git(repositories, ['--git-dir=app.git', 'config', 'uploadpack.allowFilter', 'true'])
  const starter = system.policy('resources/data.yaml')
  await system.activated(
    system.commit({
      'resources/data.yaml': `${starter}${forgeEntry(system, repositories, ['large', 'app'])}`,
      // The starter policies refuse what is pushed here for its size.
      'action/git.rego': system.policy('action/git.rego').replace(/^(largest_\w+ := )(\d+)/gm, '$1$200'),
      'action/git_test.rego': system
        .policy('action/git_test.rego')
        .replace(/(_bytes": )(\d+)( \* 1048576)/g, '$1$200$3'),
    }),
  )
  const erin = system.person('erin')
  const request = await erin.ask({ resource: 'bench-forge', role: 'writer' })
  const { body } = await system.person('dana').vote(request)
  if (body['state'] !== 'approved') throw new Error(`not approved: ${JSON.stringify(body)}`)
  const ways = [straight(system, folder, repositories), await gatewayWay(erin, folder, 'bench-forge')]
  const [worker] = await system.workers()

  const direct = ways[0]!
  await git(folder, ['init', '-q', '-b', 'main', work])
  await git(work, ['commit', '-q', '--allow-empty', '-m', 'first'])
  await git(work, ['push', '-q', direct.url('app'), 'main'], sshOf(direct))

  await ratio('clone', settings.mib, budget.clone, async (way, turn) => {
    const place = join(folder, `clone-${turn}`)
    const took = await timed(() => git(folder, ['clone', '-q', '--bare', way.url('large'), place], sshOf(way)))
    rmSync(place, { recursive: true })
    return took
  })
  await ratio('fetch of the other half', settings.mib / 2, budget.clone, async (way, turn) => {
    const place = join(folder, `fetch-${turn}`)
    const local = `file://${join(repositories, 'large.git')}`
    await git(folder, ['clone', '-q', '--bare', '--single-branch', '-b', 'main', local, place])
    const took = await timed(() => git(place, ['fetch', '-q', way.url('large'), 'more:more'], sshOf(way)))
    rmSync(place, { recursive: true })
    return took
  })
  await ratio('push', settings.push, budget.push, async (way, turn) => {
    const id = await commitOf(settings.push, `push-${turn}`)
    return timed(() => pushed(way, `${id}:refs/heads/push-${turn}`))
  })

  const small = ways.map(() => [] as number[])
  for (let n = 0; n < settings.small; n++)
    for (const [i, way] of ways.entries()) {
      const ref = `refs/heads/${way.name}`
      writeFileSync(join(work, 'small'), `${way.name} ${n}\n`.repeat(20))
      await git(work, ['add', 'small'])
      await git(work, ['commit', '-q', '-m', `small ${n}`])
      const took = await timed(() => pushed(way, `HEAD:${ref}`))
      small[i]!.push(took * 1000)
    }
  for (const [i, way] of ways.entries()) figure('git', `a small push, ${way.name}`, median(small[i]!), 'ms')
  figure('git', 'a small push: what Sallyport adds', median(small[1]!.map((took, i) => took - small[0]![i]!)), 'ms', {
    most: budget.small_ms,
  })

  if (settings.large > 0) {
    const id = await commitOf(settings.large, 'large')
    const grown = growth()
    await pushed(ways[1]!, `${id}:refs/heads/large`)
    figure('git', `memory of the gateway grows in a push of ${settings.large} MiB`, grown(), 'MiB', {
      most: budget.memory_MiB,
    })
  }

  if (settings.clients > 0) {
    const rates = ways.map(() => [] as number[])
    const grown = growth()
    for (let round = 0; round < settings.rounds; round++)
      for (const [i, way] of ways.entries()) {
        const chains: string[][] = []
        for (let n = 0; n < settings.clients; n++) chains.push(await chainOf(pushes, `${way.name} ${round} ${n}`))
        const all = () =>
          Promise.all(
            chains.map(async (ids, n) => {
              for (const id of ids) await pushed(way, `${id}:refs/heads/${way.name}-${round}-${n}`)
            }),
          )
        rates[i]!.push((settings.clients * pushes) / (await timed(all)))
      }
    const what = `${settings.clients} clients pushing at once`
    for (const [i, way] of ways.entries()) figure('git', `${way.name}, ${what}`, median(rates[i]!), 'pushes/s')
    figure('git', `sallyport / direct, ${what}`, median(rates[1]!.map((rate, i) => rate / rates[0]![i]!)), 'x')
    figure('git', `memory of the gateway grows with ${what}`, grown(), 'MiB', { most: budget.memory_MiB })
  }

  /** Watches the gateway's memory from now on. @returns what gives the most that it has grown by, in MiB, and stops. */
  function growth(): () => number {
    const before = rssMiB(worker!.pid)
    let most = before
    const watch = setInterval(() => {
      most = Math.max(most, rssMiB(worker!.pid))
    }, 100)
    return () => {
      clearInterval(watch)
      return most - before
    }
  }

  async function ratio(
    what: string,
    mib: number,
    least: number,
    run: (way: GitWay, turn: string) => Promise<number>,
  ): Promise<void> {
    const took = ways.map(() => [] as number[])
    for (let round = 0; round < settings.rounds; round++)
      for (let n = 0; n < ways.length; n++) {
        const i = (round + n) % ways.length
        took[i]!.push(await run(ways[i]!, `${round}-${i}`))
      }
    for (const [i, way] of ways.entries())
      figure('git', `${way.name}, ${mib} MiB, ${what}`, mib / median(took[i]!), 'MiB/s')
    const ratios = took[1]!.map((seconds, i) => took[0]![i]! / seconds)
    figure('git', `sallyport / direct, ${what}`, median(ratios), 'x', { least })
  }
} finally {
  await system[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
}

function sshOf(way: GitWay): Record<string, string> {
  return { GIT_SSH_COMMAND: way.ssh, GIT_SSH_VARIANT: 'ssh' }
}

function pushed(way: GitWay, refspec: string): Promise<string> {
  return git(work, ['push', '-q', way.url('app'), refspec], sshOf(way))
}

/** Small commits, each upon the one before it. */
async function chainOf(length: number, name: string): Promise<string[]> {
  const ids: string[] = []
  for (let n = 0; n < length; n++) {
    const text = Buffer.from(`${name} ${n}\n`.repeat(20))
    ids.push(await commitTree(await git(work, ['hash-object', '-w', '--stdin'], {}, text), `${name} ${n}`, ids.at(-1)))
  }
  return ids
}

/** A commit with one new file of so many MiB that cannot be made smaller. */
async function commitOf(mib: number, name: string): Promise<string> {
  const file = join(folder, 'bytes')
  const out = createWriteStream(file)
  for (let i = 0; i < mib; i++) if (!out.write(randomBytes(1 << 20))) await once(out, 'drain')
  out.end()
  await once(out, 'close')
  const blob = await git(work, ['hash-object', '-w', file])
  rmSync(file)
  return commitTree(blob, name)
}

async function commitTree(blob: string, name: string, parent = 'main'): Promise<string> {
  const tree = await git(work, ['mktree'], {}, Buffer.from(`100644 blob ${blob}\t${name}\n`))
  return git(work, ['commit-tree', '-p', parent, '-m', name, tree])
}
