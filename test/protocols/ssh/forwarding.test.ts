import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { sessions } from '../../../src/sessions/schema.ts'
import type { Edit } from '../../approvals/world.ts'
import { freePort, run } from './sshd.ts'
import { createSshWorld, type Issued, type SshWorld, said, ssh, sshArguments, standing, startSsh } from './world.ts'

let world: SshWorld
let echo: Server // says back what it hears, in capitals
let echoPort: number
let folder: string
const children: ChildProcess[] = []

function shouting(socket: Socket): void {
  socket.on('error', () => {}).on('data', bytes => socket.write(bytes.toString().toUpperCase()))
  socket.on('end', () => socket.end())
}

beforeAll(async () => {
  world = await createSshWorld(['X11Forwarding yes', 'XAuthLocation /usr/bin/xauth', 'StreamLocalBindUnlink yes'])
  folder = world.world.folder
  echo = createServer({ allowHalfOpen: true }, shouting).listen(0, '127.0.0.1')
  await once(echo, 'listening')
  echoPort = (echo.address() as AddressInfo).port
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  echo?.close()
  await world?.close()
})

const allowing = (rule: string): Edit => [
  'action/ssh.rego',
  '\tforwarded[input.action.kind]\n}\n',
  `\tforwarded[input.action.kind]\n\tnot known_forward\n}\n\n# METADATA\n# title: A test forwards\n# custom: { rule: action.test-forward }\nallow if known_forward\n\nknown_forward if {\n\tis_ssh\n\t${rule}\n}\n`,
]

async function recorded(issued: Issued, kind: string) {
  const [session] = await world.world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id))
  const events: Record<string, unknown>[] = []
  for await (const event of world.world.reader.events(session!.id)) if (event.kind === kind) events.push(event as never)
  return events
}

/** What a connection to `place` says to `hello`: nothing where it is closed or reset. */
async function hello(place: number | string): Promise<string> {
  const socket = await reach(place)
  let answer = ''
  socket.on('data', bytes => (answer += bytes)).on('error', () => {})
  socket.end('hello')
  await new Promise(done => socket.once('close', done))
  return answer
}

async function reach(place: number | string): Promise<Socket> {
  for (let tries = 0; ; tries++) {
    const socket = typeof place === 'number' ? connect(place, '127.0.0.1') : connect(place)
    try {
      await once(socket, 'connect')
      return socket
    } catch (error) {
      if (tries > 400) throw error
      await new Promise(done => setTimeout(done, 50))
    }
  }
}

function background(issued: Issued, ...options: string[]): ChildProcess {
  const child = startSsh(world.world, world.port, issued, '-o', 'ExitOnForwardFailure=yes', ...options, '--')
  children.push(child)
  return child
}

describe('SS6: where policy names nothing', () => {
  beforeEach(() => world.world.activate(standing))

  test('-W is refused in the words of the rule', async () => {
    const { code, stderr } = await ssh(
      world.world,
      world.port,
      await world.ticket(),
      '-W',
      `127.0.0.1:${echoPort}`,
      '--',
    )
    expect([code, stderr]).toEqual([255, expect.stringContaining('administratively prohibited')])
    expect(stderr).toMatch(/policy forwards no port or socket.*action\.ssh-forwarding \(action\/ssh\.rego:\d+@/)
  })

  test('a connection to what -L listens on is closed, and the recording says whereto it wanted', async () => {
    const issued = await world.ticket()
    const port = await freePort()
    const child = background(issued, '-N', '-L', `${port}:127.0.0.1:${echoPort}`)
    expect(await hello(port)).toBe('')
    child.kill()
    await said(child)
    await expect
      .poll(async () => (await recorded(issued, 'statement')).map(({ text, effect }) => [text, effect]), {
        timeout: 20_000,
      })
      .toContainEqual([`forward to 127.0.0.1:${echoPort}`, 'deny'])
  })

  test('-R, the agent and X11 are refused, and a program’s person reads why', async () => {
    const back = await world.run('-R', `0:127.0.0.1:${echoPort}`, '--', 'echo on')
    expect([back.stdout.toString(), back.stderr]).toEqual(['on\n', expect.stringContaining('action.ssh-forwarding')])
    const agent = await world.run('-A', '--', 'echo "[$SSH_AUTH_SOCK]"')
    expect(agent.stdout.toString()).toBe('[]\n')
    const issued = await world.ticket()
    const args = sshArguments(world.world, world.port, issued)
    const env = { PATH: process.env['PATH'], DISPLAY: '127.0.0.1:77', HOME: folder }
    const x11 = await run('ssh', [...args.slice(0, -1), '-Y', '127.0.0.1', 'echo "[$DISPLAY]"'], '', { env })
    expect([x11.out, x11.err]).toEqual(['[]\n', expect.stringContaining('policy forwards no X11 display')])
  })

  test('sockets are refused both ways', async () => {
    const local = join(folder, 'refused.sock')
    const child = background(await world.ticket(), '-N', '-L', `${local}:${join(folder, 'no.sock')}`)
    expect(await hello(local)).toBe('')
    child.kill()
    const there = join(folder, 'never.sock')
    const { code } = await world.run('-o', 'ExitOnForwardFailure=yes', '-R', `${there}:${local}`, '--', 'true')
    expect([code, existsSync(there)]).toEqual([255, false])
  })
})

describe('where policy names host and port', () => {
  test('-W and -L reach that port and no other; the recording has the place and the bytes', async () => {
    await world.world.activate(
      standing,
      allowing(`input.action.facts.host == "127.0.0.1"\n\tinput.action.facts.port == ${echoPort}`),
    )
    const issued = await world.ticket()
    const through = startSsh(world.world, world.port, issued, '-W', `127.0.0.1:${echoPort}`, '--')
    through.stdin!.end('hello')
    expect((await said(through)).stdout.toString()).toBe('HELLO')
    const other = await ssh(world.world, world.port, await world.ticket(), '-W', '127.0.0.1:1', '--')
    expect(other.stderr).toContain('action.ssh-forwarding')
    await expect
      .poll(() => recorded(issued, 'channel_close'), { timeout: 20_000 })
      .toMatchObject([{ to_target: 5, to_client: 5 }])
    expect(await recorded(issued, 'channel_open')).toMatchObject([
      { type: 'direct-tcpip', by: 'client', host: '127.0.0.1', port: echoPort },
    ])
    expect(await recorded(issued, 'output')).toEqual([])
    const port = await freePort()
    const child = background(await world.ticket(), '-N', '-L', `${port}:127.0.0.1:${echoPort}`)
    expect(await hello(port)).toBe('HELLO')
    expect(await hello(port)).toBe('HELLO')
    child.kill()
  })

  test('-R lets the target listen, at a port of its choice; each connection is decided again', async () => {
    const remote = allowing('input.action.facts.kind == "remote"')
    await world.world.activate(standing, remote)
    const issued = await world.ticket()
    const child = background(issued, '-N', '-R', `0:127.0.0.1:${echoPort}`)
    let words = ''
    child.stderr!.on('data', text => (words += text))
    await expect.poll(() => words, { timeout: 20_000 }).toMatch(/Allocated port \d+/)
    const port = Number(/Allocated port (\d+)/.exec(words)![1])
    expect(await hello(port)).toBe('HELLO')
    await world.world.activate(standing)
    await expect.poll(() => hello(port), { timeout: 20_000 }).toBe('')
    child.kill()
    await expect
      .poll(async () => (await recorded(issued, 'channel_open')).map(({ type, by, port: at }) => [type, by, at]), {
        timeout: 20_000,
      })
      .toContainEqual(['forwarded-tcpip', 'target', port])
  })

  test('sockets go both ways', async () => {
    await world.world.activate(
      standing,
      allowing(
        `input.action.facts.kind in {"streamlocal", "remote-streamlocal"}\n\tstartswith(input.action.facts.path, "${folder}/")`,
      ),
    )
    const served = join(folder, 'served.sock')
    const server = createServer({ allowHalfOpen: true }, shouting).listen(served)
    await once(server, 'listening')
    const [local, remote] = [join(folder, 'local.sock'), join(folder, 'remote.sock')]
    const there = background(await world.ticket(), '-N', '-L', `${local}:${served}`)
    expect(await hello(local)).toBe('HELLO')
    there.kill()
    const back = background(await world.ticket(), '-N', '-R', `${remote}:${served}`)
    expect(await hello(remote)).toBe('HELLO')
    back.kill()
    server.close()
  })

  test('the agent answers programs of the target', async () => {
    await world.world.activate(standing, allowing('input.action.kind == "agent"'))
    const socket = join(folder, 'agent.sock')
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' })
    children.push(agent)
    await expect.poll(() => existsSync(socket)).toBe(true)
    const key = join(folder, 'agent-key')
    rmSync(key, { force: true })
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'from-the-agent', '-f', key])
    const env = { PATH: process.env['PATH'], SSH_AUTH_SOCK: socket }
    execFileSync('ssh-add', ['-q', key], { env })
    const args = sshArguments(world.world, world.port, await world.ticket())
    const { out } = await run('ssh', [...args.slice(0, -1), '-A', '127.0.0.1', 'ssh-add -l'], '', { env })
    agent.kill()
    expect(out).toContain('from-the-agent')
  })

  test('a screen of the person shows programs of the target', async () => {
    await world.world.activate(standing, allowing('input.action.kind == "x11"'))
    const display = 70 + Math.floor(Math.random() * 100)
    const heard: Buffer[] = []
    const screen = createServer(socket => {
      socket
        .on('error', () => {})
        .on('data', bytes => {
          heard.push(bytes)
          socket.end('SCREEN')
        })
    }).listen(6000 + display, '127.0.0.1')
    await once(screen, 'listening')
    const program = `
      const [host, display] = process.env.DISPLAY.split(':')
      const cookie = require('node:child_process').execFileSync('xauth', ['list', process.env.DISPLAY]).toString().trim().split(/\\s+/)[2]
      const head = Buffer.from([0x6c, 0, 11, 0, 0, 0, 18, 0, 16, 0, 0, 0])
      const socket = require('node:net').connect(6000 + parseInt(display), host)
      socket.write(Buffer.concat([head, Buffer.from('MIT-MAGIC-COOKIE-1\\0\\0'), Buffer.from(cookie, 'hex')]))
      socket.pipe(process.stdout)`
    const args = sshArguments(world.world, world.port, await world.ticket())
    const env = { PATH: process.env['PATH'], DISPLAY: `127.0.0.1:${display}`, HOME: folder }
    const { out, err } = await run('ssh', [...args.slice(0, -1), '-Y', '127.0.0.1', `${process.execPath} -`], program, {
      env,
    })
    screen.close()
    expect([out, err]).toEqual(['SCREEN', expect.not.stringContaining('refused')])
    expect(Buffer.concat(heard).toString('latin1')).toContain('MIT-MAGIC-COOKIE-1')
  })
})
