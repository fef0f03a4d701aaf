import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { type Confinement, confine, type Pipes } from '../../../src/protocols/git/mirror/confined.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-confined-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const start = (script: string, how: Partial<Confinement> = {}, pipes?: Pipes) =>
  confine(
    ['/bin/sh', '-c', script],
    { cwd: folder, env: { PATH: '/usr/bin:/bin' }, timeout_ms: 20_000, memory_kib: 1 << 20, cpu_s: 10, ...how },
    pipes,
  )
const run = async (script: string, how?: Partial<Confinement>) => {
  const { stdout, ...rest } = await start(script, how).ended
  return { ...rest, stdout: stdout.toString() }
}
const parentOf = (pid: number) => Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1])
const isThere = (pid: number) => {
  try {
    return !readFileSync(`/proc/${pid}/status`, 'latin1').includes('State:\tZ')
  } catch {
    return false
  }
}
const gone = (pid: number) => expect.poll(() => isThere(pid)).toBe(false)

describe('a program on hostile input', () => {
  test('is answered for, whatever becomes of it', async () => {
    const fine = { cut: undefined, stderr: '' }
    expect(await run('cat; echo out', { input: 'in ' })).toEqual({ ...fine, status: 0, stdout: 'in out\n' })
    expect(await run('echo why >&2; exit 3')).toEqual({ ...fine, status: 3, stdout: '', stderr: 'why\n' })
    expect(await run('kill -SEGV $$')).toMatchObject({ status: null })
    expect(await run('true', { input: 'nobody reads this\n'.repeat(100_000) })).toMatchObject({ status: 0 })
    expect(await run('cat')).toMatchObject({ status: 0, stdout: '' })
    expect(await run('true', { cwd: join(folder, 'nowhere') })).toMatchObject({
      status: null,
      stderr: expect.stringContaining('ENOENT'),
    })
    expect(await run('true', { from: join(folder, 'nothing') })).toMatchObject({
      status: null,
      stderr: expect.stringContaining('ENOENT'),
    })
  })

  test('knows nothing of ours: its environment is what it is given, and no pipe of another is open', async () => {
    const env = { PATH: '/usr/bin:/bin', A: '1' }
    const { stdout } = await run('env -u PWD -u _ -u SHLVL -u OLDPWD; find /proc/self/fd -lname "socket:*"', { env })
    expect(stdout.trim().split('\n').sort()).toEqual([
      '/proc/self/fd/1',
      '/proc/self/fd/2',
      'A=1',
      'PATH=/usr/bin:/bin',
    ])
  })

  test('reads and writes files in the place of pipes', async () => {
    const [from, to] = [join(folder, 'from'), join(folder, 'to')]
    writeFileSync(from, 'text')
    writeFileSync(to, 'longer than that')
    expect(await run('cat', { from, to })).toMatchObject({ status: 0, stdout: '' })
    expect(readFileSync(to, 'latin1')).toBe('text')
  })

  test('is ended with all that it started, in time, for too much output, and when it is told so', async () => {
    const forks = 'sleep 60 & echo $!; '
    const late = await run(`${forks} sleep 60`, { timeout_ms: 300 })
    expect(late).toMatchObject({ status: null, cut: 'time' })
    expect(await run('yes', { max_output: 1 << 16 })).toMatchObject({ cut: 'output' })
    const given = new AbortController()
    const aborted = start(`${forks} sleep 60`, { signal: given.signal }).ended
    await sleep(200)
    given.abort()
    expect(await aborted).toMatchObject({ status: null, cut: 'abort' })
    expect(await start('sleep 60', { signal: given.signal }).ended).toMatchObject({ cut: 'abort' })
    const left = await run(forks) // it ends, and what it started holds its pipes
    expect(left).toMatchObject({ status: 0, cut: undefined })
    for (const { stdout } of [late, left, { stdout: (await aborted).stdout.toString() }]) await gone(Number(stdout))
  })

  test('takes no more memory, time and room than it may', async () => {
    expect((await run('head -c 200M /dev/zero | tail -c 200M | wc -c', { memory_kib: 100 << 10 })).stdout).not.toBe(
      '209715200\n',
    )
    expect(await run('while :; do :; done', { cpu_s: 1 })).toMatchObject({ status: null, cut: undefined })
    await run('head -c 2M /dev/zero > large', { max_file: 1 << 20 })
    expect(readFileSync(join(folder, 'large')).length).toBeLessThanOrEqual(1 << 20)
  })

  test('is started by another process than this one, which costs a gateway nothing', async () => {
    const { stdout, ended } = start('echo $$; sleep 0.3', {}, 'output')
    let said = ''
    for await (const chunk of stdout!) said += String(chunk)
    expect(said).toMatch(/^\d+\n$/)
    expect(await ended).toMatchObject({ status: 0 })
    const { stdout: parent } = await run('echo $PPID')
    expect(Number(parent)).not.toBe(process.pid)
    expect(parentOf(Number(parent))).toBe(process.pid)
  })
})

/** The limit under which so many descriptors more can be had. */
function roomFor(more: number): string {
  const open = new Set(readdirSync('/proc/self/fd').map(Number))
  let limit = 0
  for (let left = more; left > 0; limit++) if (!open.has(limit)) left--
  return String(limit)
}

describe('what starts programs', () => {
  test('starts as many as are asked for, one after the other and at once, and keeps nothing open', async () => {
    await run('true')
    const before = readdirSync('/proc/self/fd').length // with the pipes of one that waits
    const all = await Promise.all(Array.from({ length: 150 }, (_, i) => run(`cat; echo ${i}`, { input: `${i} ` })))
    expect(all.map(each => each.stdout)).toEqual(all.map((_, i) => `${i} ${i}\n`))
    for (let i = 0; i < 100; i++) expect((await run(`echo ${i}`)).stdout).toBe(`${i}\n`)
    // One more waits at most.
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBeLessThan(before + 2 * 205)
  })

  test('may die: what it started ends, who waits hears of it, and the next program is started by another', async () => {
    const { stdout: starter } = await run('echo $PPID')
    const { stdout, ended } = start('echo $$; sleep 60', {}, 'output')
    const said = new Promise<string>(resolve => stdout!.once('data', chunk => resolve(String(chunk))))
    const pid = Number(await said)
    stdout!.resume()
    process.kill(Number(starter), 'SIGKILL')
    expect(await ended).toMatchObject({ status: null, stderr: expect.stringContaining('what started it has ended') })
    await gone(pid)
    expect(await run('echo $PPID')).toMatchObject({ status: 0, stdout: expect.not.stringMatching(starter) })
  })

  test('has no room for more: who asks is told, what has begun goes on, and nothing else happens', async () => {
    const limit = (files: string) => execFileSync('prlimit', [`--pid=${process.pid}`, `--nofile=${files}:`])
    const before = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))![1]!
    const begun = start('cat', {}, 'input')
    try {
      const all = []
      for (let i = 0; i < 150; i++) {
        if (i % 10 === 0) limit(roomFor(30)) // what ends makes room
        all.push(await run('cat; echo out', { input: 'in ' }))
      }
      const [fine, failed] = [
        all.filter(each => each.fault === undefined),
        all.filter(each => each.fault !== undefined),
      ]
      for (const each of fine) expect(each).toMatchObject({ status: 0, stdout: 'in out\n' })
      expect(failed.length).toBeGreaterThan(0)
      expect(failed[0]).toMatchObject({ status: null, stdout: '', fault: expect.stringContaining('too many files') })
      for (const pipes of ['input', 'output', 'channel'] as const) {
        const { stdin, stdout, ended } = start('true', {}, pipes)
        stdin?.write('nobody reads this')
        stdin?.end()
        if (pipes === 'output') for await (const chunk of stdout!) throw new Error(String(chunk))
        expect(await ended).toMatchObject({ status: null, fault: expect.any(String) })
      }
    } finally {
      limit(before)
    }
    begun.stdin!.end('still here')
    expect(String((await begun.ended).stdout)).toBe('still here')
    expect(await run('echo again')).toMatchObject({ status: 0, stdout: 'again\n' })
  })

  test('may hang: who is told to end it is not kept waiting for ever', { timeout: 40_000 }, async () => {
    const { stdout: starter } = await run('echo $PPID')
    const { ended, kill, stdout } = start('echo $$; sleep 60', {}, 'output')
    const pid = Number(await new Promise(resolve => stdout!.once('data', resolve)))
    stdout!.resume()
    process.kill(Number(starter), 'SIGSTOP')
    kill('time')
    expect(await ended).toMatchObject({ status: null, cut: 'time' })
    await gone(pid)
  })
})
