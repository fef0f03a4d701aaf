import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { forgeEntry, type GitWay, gatewayWay, straight } from './git/ways.ts'
import { figure, median } from './live/figure.ts'
import { rssMiB } from './live/memory.ts'
import { System } from './live/system.ts'

/**
 * `npm run bench -- git [--mib N] [--push N] [--large N] [--rounds N] [--small N]`: the real git straight to a real sshd and
 * through Sallyport, every ref update known and judged before the server sees it. The ways take turns, and each figure is the
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
}
const budget = { clone: 0.6, push: 0.4, small_ms: 300, memory_MiB: 64 }

const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-git-'))
const repositories = join(folder, 'repositories')
const work = join(folder, 'work')

function git(cwd: string, args: readonly string[], env: Record<string, string> = {}, input?: Buffer): string {
  const { status, stdout, stderr } = spawnSync('git', [...args], {
    cwd,
    maxBuffer: 1 << 30,
    ...(input && { input }),
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
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${String(stderr)}`)
  return stdout.toString().trim()
}

const timed = (run: () => void): number => {
  const started = performance.now()
  run()
  return (performance.now() - started) / 1000
}

/** Many commits of many files, half of the bytes in each of two branches; nothing in it can be made smaller. */
function makeLarge(path: string, mib: number): void {
  git(folder, ['init', '-q', '--bare', '-b', 'main', path])
  const bytes = 32 << 10
  const half = Math.ceil((mib * (1 << 20)) / bytes / 2)
  const chunks: Buffer[] = []
  for (let i = 0; i < half * 2; i++) {
    const head = `commit refs/heads/${i < half ? 'main' : 'more'}\ncommitter b <b@example.test> ${1_700_000_000 + i} +0000\ndata 1\nx\n${i === half ? 'from refs/heads/main\n' : ''}M 100644 inline d${i % 100}/f${i}\ndata ${bytes}\n`
    chunks.push(Buffer.from(head), randomBytes(bytes), Buffer.from('\n'))
  }
  git(path, ['fast-import', '--quiet'], {}, Buffer.concat(chunks))
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
  makeLarge(join(repositories, 'large.git'), settings.mib)
  git(folder, ['init', '-q', '--bare', '-b', 'main', join(repositories, 'app.git')])
  git(repositories, ['--git-dir=app.git', 'config', 'uploadpack.allowFilter', 'true'])
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
  git(folder, ['init', '-q', '-b', 'main', work])
  git(work, ['commit', '-q', '--allow-empty', '-m', 'first'])
  git(work, ['push', '-q', direct.url('app'), 'main'], sshOf(direct))

  ratio('clone', settings.mib, budget.clone, (way, turn) => {
    const place = join(folder, `clone-${turn}`)
    const took = timed(() => git(folder, ['clone', '-q', '--bare', way.url('large'), place], sshOf(way)))
    rmSync(place, { recursive: true })
    return took
  })
  ratio('fetch of the other half', settings.mib / 2, budget.clone, (way, turn) => {
    const place = join(folder, `fetch-${turn}`)
    const local = `file://${join(repositories, 'large.git')}`
    git(folder, ['clone', '-q', '--bare', '--single-branch', '-b', 'main', local, place])
    const took = timed(() => git(place, ['fetch', '-q', way.url('large'), 'more:more'], sshOf(way)))
    rmSync(place, { recursive: true })
    return took
  })
  ratio('push', settings.push, budget.push, (way, turn) => {
    const id = commitOf(settings.push, `push-${turn}`)
    return timed(() => git(work, ['push', '-q', way.url('app'), `${id}:refs/heads/push-${turn}`], sshOf(way)))
  })

  const small = ways.map(() => [] as number[])
  for (let n = 0; n < settings.small; n++)
    for (const [i, way] of ways.entries()) {
      const ref = `refs/heads/${way.name}`
      writeFileSync(join(work, 'small'), `${way.name} ${n}\n`.repeat(20))
      git(work, ['add', 'small'])
      git(work, ['commit', '-q', '-m', `small ${n}`])
      small[i]!.push(timed(() => git(work, ['push', '-q', way.url('app'), `HEAD:${ref}`], sshOf(way))) * 1000)
    }
  for (const [i, way] of ways.entries()) figure('git', `a small push, ${way.name}`, median(small[i]!), 'ms')
  figure('git', 'a small push: what Sallyport adds', median(small[1]!.map((took, i) => took - small[0]![i]!)), 'ms', {
    most: budget.small_ms,
  })

  if (settings.large > 0) {
    const id = commitOf(settings.large, 'large')
    const before = rssMiB(worker!.pid)
    let most = before
    const watch = setInterval(() => {
      most = Math.max(most, rssMiB(worker!.pid))
    }, 100)
    await import('node:timers/promises').then(({ setTimeout: sleep }) => sleep(0))
    const { spawn } = await import('node:child_process')
    const way = ways[1]!
    const child = spawn('git', ['push', '-q', way.url('app'), `${id}:refs/heads/large`], {
      cwd: work,
      env: { PATH: process.env['PATH'], HOME: folder, ...sshOf(way) },
      stdio: 'inherit',
    })
    const code = await new Promise(resolve => child.once('close', resolve))
    clearInterval(watch)
    if (code !== 0) throw new Error(`the large push ended with ${String(code)}`)
    figure('git', `memory of the gateway grows in a push of ${settings.large} MiB`, most - before, 'MiB', {
      most: budget.memory_MiB,
    })
  }

  function ratio(what: string, mib: number, least: number, run: (way: GitWay, turn: string) => number): void {
    const took = ways.map(() => [] as number[])
    for (let round = 0; round < settings.rounds; round++)
      for (let n = 0; n < ways.length; n++) {
        const i = (round + n) % ways.length
        took[i]!.push(run(ways[i]!, `${round}-${i}`))
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

/** A commit with one new file of so many MiB that cannot be made smaller. */
function commitOf(mib: number, name: string): string {
  const file = join(folder, 'bytes')
  spawnSync('sh', ['-c', `head -c ${mib}M /dev/urandom > '${file}'`])
  const blob = git(work, ['hash-object', '-w', file])
  rmSync(file)
  const tree = git(work, ['mktree'], {}, Buffer.from(`100644 blob ${blob}\t${name}\n`))
  return git(work, ['commit-tree', '-p', 'main', '-m', name, tree])
}
