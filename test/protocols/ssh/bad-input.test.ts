import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { eq } from 'drizzle-orm'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inner, send } from '../../../src/protocols/ssh/inside.ts'
import { adjustMessage, dataMessage, plainMessage } from '../../../src/protocols/ssh/relay/messages.ts'
import { field, u8, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { publicKeyLine } from '../../../src/protocols/ssh/wire/public-key.ts'
import { sessions } from '../../../src/sessions/schema.ts'
import { freshKey } from './kit.ts'
import { createSshWorld, type Issued, type SshWorld, said, ssh, standing, startSsh } from './world.ts'

const MiB = 1024 * 1024
let world: SshWorld
beforeAll(async () => {
  world = await createSshWorld()
})
afterAll(() => world?.close())

const sessionOf = async (issued: Issued) =>
  (await world.world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id)))[0]!

/** Why the connection ended, as its recording says. */
async function reasonOf(issued: Issued): Promise<unknown> {
  const { id } = await sessionOf(issued)
  let reason: unknown
  for await (const event of world.world.reader.events(id)) if (event.kind === 'disconnected') reason = event['reason']
  return reason
}

const ended = (issued: Issued) => expect.poll(() => reasonOf(issued), { timeout: 20_000 })
const works = async () => expect((await world.run('echo well')).stdout.toString()).toBe('well\n')

/** One line of ours, whatever OpenSSH says about its end besides. */
const ours = (stderr: string) => stderr.split('\n').filter(line => line.includes('sallyport: '))

describe('a client that misbehaves', () => {
  /** A client with an open shell, whose messages a test forges. */
  async function shell(issued: Issued) {
    const client = new ssh2.Client()
    client.on('error', () => {})
    client.connect({
      host: '127.0.0.1',
      port: world.port,
      username: issued.id,
      password: issued.secret.reveal(),
      hostVerifier: () => true,
    })
    await once(client, 'ready')
    const channel = await new Promise<ssh2.ClientChannel>((done, fail) =>
      // It outlives the end of its input: a channel that is closed already takes whatever still comes.
      client.exec("sh -c 'cat; sleep 60'", (error, opened) => (error ? fail(error) : done(opened))),
    )
    channel.on('error', () => {}).resume()
    const { id } = (channel as unknown as { outgoing: { id: number } }).outgoing
    return { client, id, channel, say: (payload: Buffer) => send(inner(client)._protocol, payload) }
  }

  const chunk = Buffer.alloc(32_000)
  test.each<[string, (id: number) => Buffer[], RegExp]>([
    [
      'data for a channel that is not open',
      () => [dataMessage(77, chunk, null)],
      /the client sent a message for a channel that is not open/,
    ],
    [
      'more than it was granted',
      id => Array<Buffer>(200).fill(dataMessage(id, chunk, null)),
      /bytes sent, where \d+ were granted/,
    ],
    ['a window beyond all windows', id => [adjustMessage(id, 0xffff_ffff)], /a window larger than there may be/],
    ['data after its end', id => [plainMessage(96, id), dataMessage(id, chunk, null)], /data after its end/],
    [
      'a field longer than its message',
      id => [Buffer.concat([u8(94), u32(id), u32(0x7fff_ffff)])],
      /announced|a field of/,
    ],
    ['a type that nobody knows', () => [u8(199)], /a message of type 199/],
    ['a request without its fields', id => [Buffer.concat([u8(98), u32(id), field('exec')])], /announced/],
    ['an answer that nobody waits for', () => [plainMessage(91, 3)], /an answer to a channel that nobody opens/],
  ])('%s: the connection ends with the reason, others go on', async (_what, forged, reason) => {
    const issued = await world.ticket()
    const { client, id, say } = await shell(issued)
    const gone = once(client, 'close')
    for (const payload of forged(id)) say(payload)
    await gone
    await ended(issued).toMatch(reason)
    await works()
  })

  test('SS12: of channels without end a hundred are opened, the rest is refused, and those go on', async () => {
    const issued = await world.ticket()
    const { client } = await shell(issued)
    const open = () =>
      new Promise<string>(done => {
        client.exec('cat', (error, channel) => {
          channel?.on('error', () => {})
          done(error?.message ?? 'open')
        })
      })
    const all = await Promise.all(Array.from({ length: 130 }, open))
    expect(all.filter(each => each === 'open')).toHaveLength(99)
    expect(all.find(each => each !== 'open')).toContain('100 channels are open already')
    await works()
    client.end()
  }, 120_000)

  test('a client that stops reading costs no memory, harms nobody, and loses nothing', async () => {
    await world.world.activate(standing, ['recording/recording.rego', '"results": "all"', '"results": "none"'])
    const child = startSsh(world.world, world.port, await world.ticket(), 'head -c 48M /dev/zero')
    child.stdin!.end()
    await once(child.stdout!, 'readable')
    child.kill('SIGSTOP')
    const used = () => process.memoryUsage().arrayBuffers
    await new Promise(done => setTimeout(done, 500))
    const before = used()
    await new Promise(done => setTimeout(done, 2_000))
    expect(used() - before).toBeLessThan(16 * MiB)
    await works()
    child.kill('SIGCONT')
    const { code, stdout } = await said(child)
    expect([code, stdout.length]).toEqual([0, 48 * MiB])
    await world.world.activate(standing)
  }, 120_000)
})

describe('a target that fails', () => {
  test('SS9: one whose host key is another is not used, and nothing is learned', async () => {
    const line = publicKeyLine(freshKey().blob, '').trim()
    await world.world.activate(standing, ['resources/data.yaml', world.world.web!.hostKey, line])
    const issued = await world.ticket()
    for (let times = 0; times < 2; times++) {
      const { code, stderr } = await ssh(world.world, world.port, issued, 'true')
      expect([code, ours(stderr)]).toEqual([
        255,
        [expect.stringMatching(/web-1 cannot be used: its host key SHA256:\S+ is none of those that policy pins/)],
      ])
    }
    await ended(issued).toContain('none of those that policy pins')
    await world.world.activate(standing)
    await works()
  })

  test('one that dies in the middle of a session is said to have', async () => {
    const issued = await world.ticket()
    const { code, stdout, stderr } = await ssh(world.world, world.port, issued, 'echo begun; sleep 1; kill -KILL $PPID')
    expect([code, stdout.toString()]).toEqual([255, 'begun\n'])
    expect(ours(stderr)).toEqual([expect.stringContaining('sallyport: web-1 closed the connection')])
    await ended(issued).toBe('web-1 closed the connection')
    await works()
  })

  test('one that is dead, closes at once, or speaks something else is said to; nothing is left of the session', async () => {
    const { port } = world.world.web!
    await world.world.web!.stop()
    const refused = async () => {
      const issued = await world.ticket()
      const { code, stderr } = await ssh(world.world, world.port, issued, 'true')
      expect([code, ours(stderr)]).toEqual([255, [expect.stringContaining('web-1')]])
      await ended(issued).toContain('web-1')
      const { id } = await sessionOf(issued)
      await expect.poll(() => world.gateway.gateway.live.get(id)?.connections.size ?? 0).toBe(0)
    }
    await refused()
    for (const answer of [
      (socket: Socket) => socket.destroy(),
      (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
      (socket: Socket) => socket.end(Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), Buffer.alloc(400, 255)])),
    ]) {
      const server = createServer(socket => answer(socket.on('error', () => {}))).listen(port, '127.0.0.1')
      await once(server, 'listening')
      await refused()
      server.close()
    }
  })
})
