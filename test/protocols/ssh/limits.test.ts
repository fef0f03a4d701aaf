import { once } from 'node:events'
import { connect } from 'node:net'
import type ssh2 from 'ssh2'
import { afterEach, describe, expect, test } from 'vitest'
import { dataMessage, M } from '../../../src/protocols/ssh/relay/messages.ts'
import { field, u8, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { closeAll, closed, dialled, pause, raw, through } from './through.ts'

/** What one connection may take, and how soon a peer that is gone is noticed, whatever else is held back. */
afterEach(closeAll)

const KiB = 1024
const MiB = KiB * KiB
const chunk = Buffer.alloc(30_000)

describe('what is refused without end', () => {
  const limits = { refusals: 50 }
  const cases: readonly (readonly [string, (channel: number) => Buffer[]])[] = [
    ['variables', channel => [u8(M.request), u32(channel), field('env'), u8(1), field('no=name'), field('x')]],
    ['requests that nobody knows', channel => [u8(M.request), u32(channel), field('what@example.com'), u8(0)]],
    ['channels', () => [u8(M.open), field('what@example.com'), u32(9), u32(MiB), u32(32 * KiB)]],
  ]

  test.each(cases)(
    '%s: each is an event, and after so many the connection ends with the reason',
    async (_what, asked) => {
      const world = await through({ limits })
      const client = await raw(world.port)
      const channel = await client.opened()
      for (let i = 0; i < 1000 && !client.socket.destroyed; i++) client.send(...asked(channel))
      expect(await client.over()).toBe('sallyport: the client sent more than the 50 requests that may be refused')
      await expect
        .poll(() => world.closedWith)
        .toEqual(['the client sent more than the 50 requests that may be refused'])
      expect(world.refused).toHaveLength(51)
    },
  )

  test('a target that opens channels nobody asked for is cut off too, in its own name', async () => {
    const open = [u8(M.open), field('forwarded-tcpip'), u32(9), u32(MiB), u32(32 * KiB), field('h'), u32(1)]
    const world = await through({ limits })
    const client = await raw(world.port)
    await expect.poll(() => world.targetSide.length).toBe(1)
    await client.opened()
    world.say(...Array<Buffer>(60).fill(Buffer.concat(open)))
    expect(await client.over()).toContain('web-1 sent more than the 50 requests that may be refused')
  })
})

test('what is asked for faster than it is shipped is paced: nothing more is read meanwhile, and nothing is lost', async () => {
  let shipped = () => {}
  const behind = new Promise<void>(resolve => {
    shipped = resolve
  })
  const world = await through({ behind, session: session => session.on('env', () => {}) })
  const client = await raw(world.port)
  const channel = await client.opened()
  client.socket.cork()
  for (let i = 0; i < 2000; i++)
    client.send(u8(M.request), u32(channel), field('env'), u8(0), field(`LC_${i}`), field('x'.repeat(100)))
  client.exec(channel)
  client.socket.uncork()
  await expect.poll(() => world.clients[0]!.isPaused()).toBe(true)
  await pause(300)
  expect(world.clients[0]!.isPaused()).toBe(true)
  expect(client.got.map(each => each[0])).not.toContain(M.failure)
  shipped()
  await client.next(M.failure) // the command comes last, and this target has none
})

describe('who is gone while nothing is read of them', () => {
  test('a client that waits for a moderator and has sent more than is kept is noticed within seconds', async () => {
    const world = await through({ unwatched: true })
    const client = await raw(world.port)
    const channel = await client.opened()
    client.exec(channel)
    for (let i = 0; i < 40; i++) client.send(dataMessage(channel, chunk, null))
    await expect.poll(() => world.clients[0]!.isPaused()).toBe(true)
    client.socket.destroy()
    expect(await closed(world.clients[0]!, 5_000)).toBe(true)
    await expect.poll(() => world.closedWith).toEqual(['the client closed the connection'])
  })

  test('one that waits and is there stays', async () => {
    const world = await through({ unwatched: true })
    const client = await raw(world.port)
    const channel = await client.opened()
    for (let i = 0; i < 40; i++) client.send(dataMessage(channel, chunk, null))
    await expect.poll(() => world.clients[0]!.isPaused()).toBe(true)
    await pause(2_500)
    expect(client.socket.destroyed).toBe(false)
  })

  test('a client whose target takes nothing is noticed at the next look', async () => {
    const world = await through({ limits: { ask_ms: 200, outgoing_bytes: 1 }, exec: () => {} })
    const client = await raw(world.port)
    const channel = await client.running()
    await expect.poll(() => world.targets.length).toBe(1)
    world.targets[0]!.cork() // as if its network took nothing
    for (let i = 0; i < 40; i++) client.send(dataMessage(channel, chunk, null)) // more than a paused socket reads on
    await expect.poll(() => world.clients[0]!.isPaused()).toBe(true)
    client.socket.destroy()
    expect(await closed(world.clients[0]!, 5_000)).toBe(true)
  })
})

describe('targets', () => {
  test('one that accepts and stays silent is said to, in time', async () => {
    const world = await through({ limits: { target_login_ms: 300 }, socket: () => {} })
    const client = await raw(world.port)
    expect(await client.over()).toContain('sallyport: web-1 cannot be used: it did not finish the login within 0.3 s')
  })

  test('one that says half of something, too', async () => {
    const world = await through({
      limits: { target_login_ms: 300 },
      socket: socket => void socket.write('SSH-2.0-half\r\n'),
    })
    const client = await raw(world.port)
    expect(await client.over()).toContain('it did not finish the login within 0.3 s')
  })
})

describe('SS12: connections of one address', () => {
  test('beyond the cap one is closed before a byte of it is read; it gets in when another leaves', async () => {
    const world = await through({ max_per_address: 3 })
    const hello = async () => {
      const socket = connect(world.port, '127.0.0.1').on('error', () => {})
      const heard = await Promise.race([once(socket, 'data').then(() => true), once(socket, 'close').then(() => false)])
      return { socket, heard }
    }
    const three = [await hello(), await hello(), await hello()]
    expect(three.map(each => each.heard)).toEqual([true, true, true])
    expect((await hello()).heard).toBe(false)
    three[0]!.socket.destroy()
    await expect.poll(async () => (await hello()).heard).toBe(true)
  })
})

describe('memory', () => {
  test('of the process stays flat while a client reads nothing of a command that says a gigabyte', async () => {
    const sayMuch = async (channel: ssh2.ServerChannel) => {
      const block = Buffer.alloc(256 * KiB, 'x')
      for (let i = 0; i < 4096 && !channel.destroyed; i++)
        if (!channel.write(block)) await Promise.race([once(channel, 'drain'), once(channel, 'close')])
    }
    const world = await through({ exec: sayMuch })
    const client = await raw(world.port)
    await client.running(2 ** 31)
    client.socket.pause()
    await expect.poll(() => world.targets[0]!.isPaused(), { timeout: 10_000 }).toBe(true)
    await pause(500)
    const before = process.memoryUsage().rss
    await pause(2_000)
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * MiB)
    expect(world.targets[0]!.bytesRead).toBeLessThan(64 * MiB)
    expect((await dialled(world.port)).socket.destroyed).toBe(false)
  })
})
