import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { startOf } from '../../src/db/owner.ts'
import { hasSshd } from '../../src/dev/web/start.ts'
import { commandOf, processesBelow } from '../support/children.ts'

const root = resolve(import.meta.dirname, '../..')
const command = `${process.execPath} ${join(root, 'test/dev/dev-child.js')}`
// One data folder for all: whatever ended the instance before, the next one starts on what it left.
const folder = mkdtempSync(join(tmpdir(), 'sallyport-tree-'))
const dataDir = join(folder, 'state')
const readyMs = 300_000 // a busy machine: what is waited for is the outcome
const goneMs = 90_000

interface Running {
  readonly child: ChildProcess
  readonly output: () => string
}

/** Starts it as `npm start` does (npm, its shell, our process), or directly. */
function start(how: 'npm' | 'node', env: NodeJS.ProcessEnv = {}): Running {
  const packageDir = join(folder, 'package')
  mkdirSync(packageDir, { recursive: true })
  writeFileSync(join(packageDir, 'package.json'), JSON.stringify({ scripts: { start: command } }))
  const [program, ...args] = how === 'npm' ? ['npm', 'start', '--silent'] : command.split(' ')
  const { npm_lifecycle_event: _, npm_command: __, ...outer } = process.env
  const child = spawn(program!, args, {
    cwd: packageDir,
    env: { ...outer, SALLYPORT_DATA: dataDir, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream!.setEncoding('utf8').on('data', text => (output += text))
  return { child, output: () => output }
}

async function startReady(how: 'npm' | 'node'): Promise<Running> {
  const running = start(how)
  await vi.waitFor(
    () => {
      if (running.child.exitCode !== null || running.output().includes('Ctrl-C stops everything')) return
      throw new Error(`not ready: ${running.output()}`)
    },
    { timeout: readyMs, interval: 100 },
  )
  expect(running.output()).toContain('Ctrl-C stops everything')
  return running
}

/** Every process of the tree: it or one of its ancestors is ours, or it works in our data folder. */
function treeOf({ child }: Running): number[] {
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

/** Those of a tree whose command line matches; the reader of a lifeline is the child of a wrapper that looks like it. */
const matching = (tree: readonly number[], pattern: RegExp) => tree.filter(pid => pattern.test(commandOf(pid)))
const wrapper = (tree: readonly number[], what: RegExp) =>
  matching(tree, what).find(pid => childrenOf(pid).some(child => tree.includes(child)))
const readerOf = (pid: number | undefined) =>
  pid === undefined ? undefined : childrenOf(pid).find(child => commandOf(child).startsWith('/bin/sh -c'))

const wrapsDatabase = /^\/bin\/sh -c .*database\/cluster/s
const wrapsShop = /^\/bin\/sh -c .*shop\/cluster/s
const wrapsServer = /^\/bin\/sh -c .*sshd_config/s

/** Nothing of the tree lives, and nothing that it left behind or started meanwhile works in its folder. */
const gone = (tree: readonly number[]) =>
  vi.waitFor(
    () => {
      const living = [...new Set([...tree.filter(pid => startOf(pid) !== undefined), ...processesBelow(dataDir)])]
      expect(living.map(pid => `${pid} ${commandOf(pid)}`)).toEqual([])
    },
    { timeout: goneMs, interval: 200 },
  )

afterEach(() => {
  for (const pid of processesBelow(folder)) process.kill(pid, 'SIGKILL')
})

beforeAll(() => {
  const built = spawnSync(process.execPath, [join(root, 'src/cli/build.js')], { encoding: 'utf8' })
  expect(built.status, built.stderr).toBe(0)
})
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))

describe('the tree of development processes', { timeout: readyMs + goneMs + 30_000 }, () => {
  test('Ctrl-C in npm start stops everything in order, and the data outlives it', async () => {
    const running = await startReady('npm')
    const tree = treeOf(running)
    expect(tree.length).toBeGreaterThan(20)
    process.kill(-running.child.pid!, 'SIGINT') // what a terminal does
    await gone(tree)
    expect(running.output()).toContain('Stopping: Ctrl-C')
    expect(readFileSync(join(dataDir, 'database/postgres.log'), 'utf8')).toContain('database system is shut down')
  })

  test.each([
    ['npm', (running: Running) => running.child.pid],
    [
      'the shell between npm and the main process',
      (running: Running) => childrenOf(running.child.pid!).find(pid => /^(\/bin\/)?sh -c /.test(commandOf(pid))),
    ],
    ['the main process below npm', (running: Running) => matching(treeOf(running), /^\S*node .*dev-child\.js$/)[0]],
  ])('kill -9 of %s ends everything', async (_, victimOf) => {
    const running = await startReady('npm')
    const tree = treeOf(running)
    const victim = victimOf(running)
    expect(victim, tree.map(commandOf).join('\n')).toBeDefined()
    process.kill(victim!, 'SIGKILL')
    await gone(tree)
  })

  const find = (pattern: RegExp) => (tree: readonly number[]) => matching(tree, pattern)[0]
  const victims: [what: string, find: (tree: readonly number[]) => number | undefined][] = [
    ['control', find(/serve --roles control/)],
    ["the gateway's first process", tree => matching(tree, /serve --roles gateway/).find(isPrimary)],
    ['replay', find(/serve --roles replay/)],
    ['the database', find(/^\S*postgres -D .*database\/cluster/)],
    ['the wrapper of the database', tree => wrapper(tree, wrapsDatabase)],
    ["the reader of the database's lifeline", tree => readerOf(wrapper(tree, wrapsDatabase))],
    ['the shop', find(/^\S*postgres -D .*shop\/cluster/)],
    ['the wrapper of the shop', tree => wrapper(tree, wrapsShop)],
  ]
  if (hasSshd())
    victims.push(
      ['the demo sshd', find(/^sshd: .*sshd_config|^\/usr\/sbin\/sshd -D .*sshd_config/)],
      ['the wrapper of the demo sshd', tree => wrapper(tree, wrapsServer)],
      ["the reader of the demo sshd's lifeline", tree => readerOf(wrapper(tree, wrapsServer))],
    )

  test.each(victims)('kill -9 of %s ends everything and says what was lost', async (_, victimOf) => {
    const running = await startReady('node')
    const tree = treeOf(running)
    const victim = victimOf(tree)
    expect(victim, tree.map(commandOf).join('\n')).toBeDefined()
    process.kill(victim!, 'SIGKILL')
    await gone(tree)
    expect(running.output()).toMatch(/Stopping everything: .* is gone/)
  })

  test('a second instance on the same data is refused with the pid of the first; a gateway worker that is killed with -9 is replaced; kill ends everything, the successor too', async () => {
    const running = await startReady('node')
    const second = start('node')
    await once(second.child, 'close')
    expect(second.output()).toContain(`belongs to a running instance (pid ${running.child.pid})`)
    const workers = () => matching(treeOf(running), /serve --roles gateway/).filter(pid => !isPrimary(pid))
    const before = workers()
    expect(before).toHaveLength(2)
    process.kill(before[0]!, 'SIGKILL')
    await vi.waitFor(
      () => {
        expect(workers()).toHaveLength(2)
        expect(workers()).not.toContain(before[0])
      },
      { timeout: goneMs, interval: 200 },
    )
    const tree = treeOf(running)
    running.child.kill('SIGTERM')
    await gone(tree)
    expect(running.output()).toMatch(/Stopping: /)
  })

  test('the main process and every worker killed with -9 at one blow leave nothing', async () => {
    const running = await startReady('node')
    const tree = treeOf(running)
    for (const pid of [running.child.pid!, ...matching(tree, /serve --roles gateway/)]) process.kill(pid, 'SIGKILL')
    await gone(tree)
  })

  test('a role that cannot start is named with its problem, and nothing is left', async () => {
    const running = start('node', { SALLYPORT_TEST_PROBLEM: 'gateway' })
    await once(running.child, 'close')
    expect(running.output()).toContain('gateway has a problem')
    await gone([running.child.pid!])
  })
})

/** Of the processes with a role's command line, the one that was not started by another of them. */
function isPrimary(pid: number): boolean {
  const parent = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  return !/serve --roles gateway/.test(commandOf(parent))
}
