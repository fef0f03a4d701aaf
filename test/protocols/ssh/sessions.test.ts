import { createHash } from 'node:crypto'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { asciicast } from '../../../src/recording/asciicast.ts'
import { ChannelList } from '../../../src/recording/channel-list.ts'
import type { ReplayLine } from '../../../src/recording/render.ts'
import { channelAddress } from '../../../src/recording/terminal.ts'
import { sessions } from '../../../src/sessions/schema.ts'
import { createSshWorld, type Issued, type SshWorld, said, ssh, startSsh } from './world.ts'

let world: SshWorld
beforeAll(async () => {
  world = await createSshWorld()
})
afterAll(() => world?.close())

const sessionOf = async (issued: Issued) =>
  (await world.world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id)))[0]!

async function recordedOf(issued: Issued) {
  const { id } = await sessionOf(issued)
  const events: Record<string, unknown>[] = []
  for await (const event of world.world.reader.events(id)) events.push(event as never)
  return events
}

describe('commands', () => {
  test('output, stderr and exit code come as they would directly', async () => {
    const { code, stdout, stderr } = await world.run('echo out; echo err >&2; exit 3')
    expect({ code, stdout: stdout.toString(), stderr }).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' })
  })

  test('the end of a program by a signal is told as such', async () => {
    const issued = await world.ticket()
    expect((await ssh(world.world, world.port, issued, 'kill -TERM $$')).code).toBe(255) // as OpenSSH does directly
    await expect
      .poll(async () => (await recordedOf(issued)).find(event => event['kind'] === 'exit'), { timeout: 20_000 })
      .toMatchObject({ signal: 'TERM' })
  })

  test('input goes in whole, its end is an end, and 8 MiB on both streams come back', async () => {
    const issued = await world.ticket()
    const child = startSsh(world.world, world.port, issued, 'tee /dev/stderr')
    const bytes = Buffer.alloc(8 * 1024 * 1024, 'sallyport ')
    const answer = said(child)
    child.stdin!.end(bytes)
    const { code, stdout, stderr } = await answer
    const hash = (of: Buffer | string) => createHash('sha256').update(of).digest('hex')
    expect([code, hash(stdout), hash(stderr)]).toEqual([0, hash(bytes), hash(bytes)])
  })

  test('a terminal has the size and the name that the client gave', async () => {
    const child = startSsh(
      world.world,
      world.port,
      await world.ticket(),
      '-tt',
      '--',
      'stty size; tty >/dev/null && echo $TERM',
    )
    child.stdin!.end()
    const { stdout } = await said(child)
    expect(stdout.toString()).toMatch(/^\d+ \d+\r\n\w+/)
  })

  test('several channels of one connection are decided one by one', async () => {
    const issued = await world.ticket()
    const socket = `${world.world.folder}/mux`
    const master = startSsh(world.world, world.port, issued, '-M', '-S', socket, '--', 'echo up; cat')
    await new Promise(resolve => master.stdout!.once('data', resolve))
    const through = (...words: string[]) => ssh(world.world, world.port, issued, '-S', socket, '--', ...words)
    expect((await through('echo two')).stdout.toString()).toBe('two\n')
    const denied = await through('sudo id')
    expect([denied.code, denied.stderr]).toEqual([126, expect.stringContaining('action.ssh-become')])
    expect((await through('echo three')).stdout.toString()).toBe('three\n')
    master.stdin!.end()
    expect((await said(master)).code).toBe(0)
  })
})

describe('denials', () => {
  test('the person reads what, by which rule at which place, and what to do; nothing reached the target', async () => {
    const { code, stderr } = await world.run('sudo touch /tmp/sallyport-never')
    expect(code).toBe(126)
    expect(stderr).toMatch(/refused by policy: sudo makes another login of yours/)
    expect(stderr).toMatch(/action\.ssh-become \(action\/ssh\.rego:\d+@[0-9a-f]+\), decision dec_/)
    expect(stderr).toContain('ask for the role root')
  })

  test('SS6: nothing is forwarded: ports, the way through, the agent', async () => {
    const issued = await world.ticket()
    const w = await ssh(world.world, world.port, issued, '-W', '127.0.0.1:22', '--')
    expect(w.stderr).toContain('administratively prohibited')
    expect(w.stderr).toContain('action.ssh-forwarding')
    const r = await world.run('-o', 'ExitOnForwardFailure=yes', '-R', '0:127.0.0.1:22', '--', 'true')
    expect([r.code, r.stderr]).toEqual([255, expect.stringContaining('remote port forwarding failed')])
    expect((await world.run('-A', '--', 'echo "[$SSH_AUTH_SOCK]"')).stdout.toString()).toBe('[]\n')
  })

  test('SS8: variables that make programs load something stay outside', async () => {
    const issued = await world.ticket()
    const send = ['-o', 'SetEnv=LD_PRELOAD=/x BASH_ENV=/y LC_SALLYPORT=told']
    const { stdout } = await ssh(
      world.world,
      world.port,
      issued,
      ...send,
      '--',
      'echo "$LD_PRELOAD|$BASH_ENV|$LC_SALLYPORT"',
    )
    expect(stdout.toString()).toBe('||told\n')
  })
})

describe('the recording', () => {
  test('holds what was asked, what was seen, and how it ended', async () => {
    const issued = await world.ticket()
    await ssh(world.world, world.port, issued, 'echo seen; echo bad >&2; exit 4')
    await expect
      .poll(async () => (await recordedOf(issued)).map(event => event['kind']), { timeout: 20_000 })
      .toContain('disconnected')
    const events = await recordedOf(issued)
    expect(events.find(event => event['kind'] === 'statement')).toMatchObject({ effect: 'allow', actions: 'exec' })
    const output = events.filter(event => event['kind'] === 'output')
    const text = (stream: string) =>
      output
        .filter(event => event['stream'] === stream)
        .map(event => Buffer.from(event['data'] as Buffer).toString())
        .join('')
    expect([text('out'), text('err')]).toEqual(['seen\n', 'bad\n'])
    expect(events.find(event => event['kind'] === 'exit')).toMatchObject({ code: 4 })
  })

  test('gives back the terminal of each connection, though their channels have the same number', async () => {
    const issued = await world.ticket()
    for (const word of ['first', 'second'])
      await ssh(world.world, world.port, issued, '-tt', '--', `echo the ${word} connection`)
    const ended = async () => (await recordedOf(issued)).filter(event => event['kind'] === 'disconnected').length
    await expect.poll(ended, { timeout: 20_000 }).toBe(2)
    const lines = [...(await recordedOf(issued)), { kind: 'end', ok: true }] as unknown as ReplayLine[]
    const list = new ChannelList()
    for (const line of lines) list.take(line)
    const { channels } = list
    expect(channels.map(({ address, what }) => [address.replace(/^\w{6}:/, ''), what])).toEqual([
      ['0', 'echo the first connection'],
      ['0', 'echo the second connection'],
    ])
    for (const [i, word] of ['first', 'second'].entries()) {
      let cast = ''
      const channel = channelAddress(channels[i]!.address)
      for await (const line of asciicast(each(lines), { channel })) cast += line
      expect(cast).toContain(`the ${word} connection`)
      expect(cast).not.toContain(`the ${word === 'first' ? 'second' : 'first'} connection`)
    }
  })
})

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}
