import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { clientOptions, sshKeygen } from './sshd.ts'
import { createSshWorld, type Said, type SshWorld, said, sshArguments } from './world.ts'

const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
/** A host key that is not pinned is told of, and only on the direct way. */
const quiet = ['-o', 'LogLevel=ERROR']
const MiB = 1024 * 1024
let world: SshWorld
let key: string

beforeAll(async () => {
  world = await createSshWorld()
  key = join(world.world.folder, 'direct-key')
  sshKeygen('-t', 'ed25519', '-f', key)
  world.world.web!.authorize(readFileSync(`${key}.pub`, 'utf8').trim())
})
afterAll(() => world?.close())

/** The arguments of `ssh` up to the host: straight to sshd, and through the gateway. */
async function ways(): Promise<readonly (readonly [string, string[]])[]> {
  const { port, login } = world.world.web!
  const direct = [...clientOptions(port), '-i', key, '-l', login, '127.0.0.1']
  return [
    ['direct', direct],
    ['through', sshArguments(world.world, world.port, await world.ticket())],
  ]
}

interface Trial {
  readonly options?: readonly string[]
  readonly command: string
  readonly input?: Buffer
  /** In the place of `input`. */
  readonly drive?: (child: ChildProcess) => void
}

function start([, args]: readonly [string, string[]], { options = [], command, input, drive }: Trial): Promise<Said> {
  const child = spawn('ssh', [...args.slice(0, -1), ...quiet, ...options, args.at(-1)!, command], {
    stdio: 'pipe',
    env: { PATH: process.env['PATH'], TERM: 'xterm-256color' },
  })
  child.stdin.on('error', () => {})
  if (drive === undefined) child.stdin.end(input ?? '')
  else drive(child)
  return said(child)
}

/** What is compared: long streams by their hash. */
function outcome({ code, stdout, stderr }: Said) {
  const short = (bytes: Buffer) => (bytes.length < 1000 ? bytes.toString('latin1') : `${bytes.length} ${sha256(bytes)}`)
  return { code, stdout: short(stdout), stderr: short(Buffer.from(stderr)) }
}

async function both(trial: Trial) {
  const [direct, through] = await ways()
  return { direct: outcome(await start(direct!, trial)), through: outcome(await start(through!, trial)) }
}

const shown = (what: string) => (child: ChildProcess) =>
  new Promise<void>(done => {
    let all = ''
    child.stdout!.on('data', text => {
      all += text
      if (all.includes(what)) done()
    })
  })

describe('through the gateway as straight to the server', () => {
  test.each<[string, Trial]>([
    ['exit 0', { command: 'true' }],
    ['exit 7', { command: 'echo out; echo err >&2; exit 7' }],
    ['exit 255', { command: 'exit 255' }],
    ['a program that is not there', { command: '/no/such/program' }],
    ['a program that is killed', { command: 'echo begun; kill -KILL $$' }],
    ['a program that ends by SIGPIPE', { command: 'kill -PIPE $$' }],
    ['output without a newline, and zeros', { command: "printf 'a\\0b\\377c'" }],
    ['no output at all', { command: 'exit 3', options: ['-n'] }],
    ['output after the end of input', { command: 'cat >/dev/null; sleep 0.2; echo late' }],
    ['input that the program does not read', { command: 'exit 4', input: Buffer.alloc(2 * MiB, 'x') }],
    ['output that goes on when a child outlives the program', { command: '(sleep 0.3; echo child) & echo parent' }],
    ['a closed standard output', { command: 'exec >&-; echo still >&2; exit 9' }],
    ['a subsystem that is not there', { command: 'nothing', options: ['-s'] }],
  ])('%s', async (_name, trial) => {
    const { direct, through } = await both(trial)
    expect(through).toEqual(direct)
  })

  test('64 MiB in and back, bit by bit, though the spool has no more room than that', async () => {
    const input = randomBytes(64 * MiB)
    const { direct, through } = await both({ command: 'cat', input })
    expect(through).toEqual(direct)
    expect(through.stdout).toBe(`${input.length} ${sha256(input)}`)
  }, 180_000)

  test('both streams at once, 24 MiB each', async () => {
    const program = 'for i in $(seq 24); do head -c 1M /dev/zero; head -c 1M /dev/zero | tr "\\0" e >&2; done'
    for (const way of await ways()) {
      const { code, stdout, stderr } = await start(way, { command: program })
      expect([code, stdout.length, stdout.every(byte => byte === 0)]).toEqual([0, 24 * MiB, true])
      expect(stderr.replaceAll('e', '')).toBe('')
      expect(stderr.length).toBe(24 * MiB)
    }
  }, 180_000)

  test('the size of a terminal, and its change while a program runs', async () => {
    const outcomes = []
    for (const [way, args] of await ways()) {
      const ready = join(world.world.folder, `ready-${way}`)
      const remote = `trap "stty size; exit 6" WINCH; stty size; touch ${ready}; while :; do sleep 0.1; done`
      // `script` gives the client a terminal of its own, whose size then changes.
      const resize = `while [ ! -e ${ready} ]; do sleep 0.1; done; stty rows 50 cols 120 </dev/tty`
      const line = `stty rows 40 cols 100; (${resize}) & exec ssh -tt ${[...args, remote].map(word => `'${word}'`).join(' ')}`
      const child = spawn('script', ['-qec', line, '/dev/null'], {
        stdio: 'pipe',
        env: { PATH: process.env['PATH'], TERM: 'xterm-256color', SHELL: '/bin/sh' },
      })
      const { code, stdout } = await said(child)
      outcomes.push([code, stdout.toString().match(/\d+ \d+/g)])
    }
    expect(outcomes[1]).toEqual(outcomes[0])
    expect(outcomes[1]).toEqual([6, ['40 100', '50 120']])
  })

  test('an interrupt from the terminal reaches the program', async () => {
    const drive = (child: ChildProcess) => {
      void shown('ready')(child).then(() => child.stdin!.write('\x03'))
    }
    const trial = { options: ['-tt'], command: "trap 'echo got; exit 5' INT; echo ready; sleep 20", drive }
    const [direct, through] = await ways()
    const outcomes = [outcome(await start(direct!, trial)), outcome(await start(through!, trial))]
    expect(outcomes[1]).toEqual(outcomes[0])
    expect(outcomes[1]!.code).toBe(5)
  })

  test('a client that goes away ends the program', async () => {
    const file = join(world.world.folder, 'outlived')
    const [, through] = await ways()
    const child = spawn('ssh', [
      '-tt',
      ...through![1],
      `trap 'echo hup > ${file}; exit' HUP; echo ready; sleep 30 & wait`,
    ])
    await shown('ready')(child)
    child.kill('SIGKILL')
    await expect.poll(() => existsSync(file) && readFileSync(file, 'utf8'), { timeout: 20_000 }).toBe('hup\n')
  })
})
