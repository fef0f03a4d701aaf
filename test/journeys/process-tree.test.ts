import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { startOf } from '../../src/db/owner.ts'
import { commandOf, processesBelow } from '../support/children.ts'

const root = resolve(import.meta.dirname, '../..')
const command = `${process.execPath} --import ${join(root, 'test/support/typescript.js')} ${join(root, 'test/dev/dev-child.ts')}`
const folders: string[] = []

interface Running {
  readonly child: ChildProcess
  readonly dataDir: string
  readonly output: () => string
}

/** Starts it as `npm start` does (npm, its shell, our process), or directly. */
async function start(how: 'npm' | 'node', env: NodeJS.ProcessEnv = {}): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-tree-'))
  folders.push(folder)
  const dataDir = join(folder, 'state')
  mkdirSync(join(folder, 'package'))
  writeFileSync(join(folder, 'package/package.json'), JSON.stringify({ scripts: { start: command } }))
  const [program, ...args] = how === 'npm' ? ['npm', 'start', '--silent'] : command.split(' ')
  const { npm_lifecycle_event: _, npm_command: __, ...outer } = process.env
  const child = spawn(program!, args, {
    cwd: join(folder, 'package'),
    env: { ...outer, SALLYPORT_DATA: dataDir, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream!.setEncoding('utf8').on('data', text => (output += text))
  return { child, dataDir, output: () => output }
}

async function startReady(how: 'npm' | 'node'): Promise<Running> {
  const running = await start(how)
  await vi.waitFor(
    () => {
      if (running.child.exitCode !== null) throw new Error(running.output())
      expect(running.output()).toContain('Ctrl-C stops everything')
    },
    { timeout: 40_000, interval: 50 },
  )
  return running
}

/** Every process of the tree: it or one of its ancestors is ours, or it works in our data folder. */
function treeOf({ child, dataDir }: Running): number[] {
  const descendants = (pid: number): number[] => childrenOf(pid).flatMap(found => [found, ...descendants(found)])
  return [...new Set([child.pid!, ...descendants(child.pid!), ...processesBelow(dataDir)])]
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

const living = (pids: number[]) => pids.filter(pid => startOf(pid) !== undefined)
const gone = (pids: number[]) =>
  vi.waitFor(() => expect(living(pids).map(pid => `${pid} ${commandOf(pid)}`)).toEqual([]), {
    timeout: 15_000,
    interval: 100,
  })

afterEach(async () => {
  for (const folder of folders.splice(0)) {
    for (const pid of processesBelow(folder)) process.kill(pid, 'SIGKILL')
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
})

describe('the tree of development processes', () => {
  test('Ctrl-C in npm start stops everything in order, and the data outlives it', async () => {
    const running = await startReady('npm')
    const tree = treeOf(running)
    expect(tree.length).toBeGreaterThan(15)
    process.kill(-running.child.pid!, 'SIGINT') // what a terminal does
    await gone(tree)
    expect(running.output()).toContain('Stopping: Ctrl-C')
    expect(readFileSync(join(running.dataDir, 'database/postgres.log'), 'utf8')).toContain(
      'database system is shut down',
    )
  })

  test('kill ends everything', async () => {
    const running = await startReady('node')
    const tree = treeOf(running)
    running.child.kill('SIGTERM')
    await gone(tree)
  })

  test('kill -9 of npm ends everything', async () => {
    const running = await startReady('npm')
    const tree = treeOf(running)
    running.child.kill('SIGKILL')
    await gone(tree)
  })

  test('kill -9 of the main process ends everything', async () => {
    const running = await startReady('node')
    const tree = treeOf(running)
    running.child.kill('SIGKILL')
    await gone(tree)
  })

  test.each([
    ['control', /serve --roles control/],
    ['gateway', /serve --roles gateway/],
    ['the wrapper of the database', /^\/bin\/sh .*database\/cluster/s],
    ['the postmaster of the shop', /^\S*postgres -D .*shop\/cluster/],
  ])('kill -9 of %s ends everything and says what was lost', async (_, pattern) => {
    const running = await startReady('node')
    const tree = treeOf(running)
    const victim = tree.find(pid => pattern.test(commandOf(pid)))
    expect(victim, tree.map(commandOf).join('\n')).toBeDefined()
    process.kill(victim!, 'SIGKILL')
    await gone(tree)
    expect(running.output()).toMatch(/Stopping everything: .* is gone/)
  })

  test('a second instance on the same data is refused with the pid of the first', async () => {
    const running = await startReady('node')
    const second = await start('node', { SALLYPORT_DATA: running.dataDir })
    await once(second.child, 'exit')
    expect(second.output()).toContain(`belongs to a running instance (pid ${running.child.pid})`)
    const tree = treeOf(running)
    running.child.kill('SIGINT')
    await gone(tree)
  })

  test('a role that cannot start is named with its problem, and nothing is left', async () => {
    const running = await start('node', { SALLYPORT_TEST_PROBLEM: 'gateway' })
    await once(running.child, 'exit')
    expect(running.output()).toContain('gateway has a problem')
    await vi.waitFor(() => expect(processesBelow(running.dataDir)).toEqual([]), 10_000)
  })
})
