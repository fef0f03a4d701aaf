import { afterEach, describe, expect, test } from 'vitest'
import {
  adjustMessage,
  confirmationMessage,
  dataMessage,
  M,
  openMessage,
  plainMessage,
  readOpen,
  recipientOf,
} from '../../../src/protocols/ssh/relay/messages.ts'
import { FieldReader, field, u8, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { closeAll, pause, type RawClient, raw, rawTarget, through } from './through.ts'

/** Messages that come in one packet: what one of them means to the next is known before it goes on. */
afterEach(closeAll)

const none = Buffer.alloc(0)
const confirm = (payload: Buffer, window = 2 ** 20, sender = 7) =>
  confirmationMessage(readOpen(payload).sender, { sender, window, packet: 32_768, rest: none })

async function confirmed(client: RawClient): Promise<number> {
  return new FieldReader(await client.next(M.openConfirmation), 5).u32()
}

const kinds = (client: RawClient, from = 90) => client.got.map(each => each[0]!).filter(kind => kind >= from)

describe('forwarding', () => {
  const forwarded = (port: number) =>
    openMessage({
      type: 'forwarded-tcpip',
      sender: 5,
      window: 2 ** 20,
      packet: 32_768,
      rest: Buffer.concat([field('127.0.0.1'), u32(port), field('127.0.0.1'), u32(9)]),
    })
  const listen = (port: number) => [u8(M.globalRequest), field('tcpip-forward'), u8(1), field('127.0.0.1'), u32(port)]

  test.each([
    ['of its choice', 0],
    ['that was named', 4022],
  ])('a target that listens at a port %s may open a channel of it in the packet of its reply', async (_what, asked) => {
    const answers: number[] = []
    const world = await through({
      target: connection =>
        rawTarget(connection, (payload, say) => {
          if (payload[0] === M.globalRequest)
            say(Buffer.concat([u8(M.requestSuccess), asked === 0 ? u32(4022) : none]), forwarded(4022))
          else answers.push(payload[0]!)
        }),
    })
    const client = await raw(world.port)
    client.send(...listen(asked))
    await client.next(M.requestSuccess)
    const open = readOpen(await client.next(M.open))
    client.send(confirmationMessage(open.sender, { sender: 0, window: 1024, packet: 32_768, rest: none }))
    await expect.poll(() => answers).toEqual([M.openConfirmation])
  })

  test('a port that the target does not listen at, or no longer does, opens no channel in that packet', async () => {
    const answers: number[] = []
    const world = await through({
      target: connection =>
        rawTarget(connection, (payload, say) => {
          if (payload[0] !== M.globalRequest) return answers.push(payload[0]!)
          const cancels = new FieldReader(payload, 1).text().startsWith('cancel')
          say(u8(cancels ? M.requestSuccess : M.requestFailure), forwarded(4022))
        }),
    })
    const client = await raw(world.port)
    client.send(...listen(4022))
    client.send(u8(M.globalRequest), field('cancel-tcpip-forward'), u8(1), field('127.0.0.1'), u32(4022))
    await client.next(M.requestSuccess)
    await expect.poll(() => answers).toEqual([M.openFailure, M.openFailure])
    expect(client.got.map(each => each[0])).not.toContain(M.open)
  })
})

describe('channels', () => {
  test.each([false, true])(
    'a window that grows in the packet of the confirmation comes behind it (strict: %s)',
    async strict => {
      const world = await through({
        strict,
        target: connection =>
          rawTarget(connection, (payload, say) => {
            if (payload[0] === M.open) say(confirm(payload, 0), adjustMessage(readOpen(payload).sender, 5000))
          }),
      })
      const client = await raw(world.port)
      client.open(0)
      await expect.poll(() => kinds(client)).toHaveLength(2)
      expect(kinds(client)).toEqual([M.openConfirmation, M.windowAdjust])
      expect(new FieldReader(client.got.at(-1)!, 1).u32()).toBe(0)
    },
  )

  /** A target that answers an SFTP client with what is no SFTP. */
  const nonsense = (window: number, answer: (channel: number) => Buffer[]) =>
    through({
      limits: { channels: 2 },
      target: connection => {
        const channels = new Map<number, number>() // ours → the gateway's
        rawTarget(connection, (payload, say) => {
          if (payload[0] === M.open) {
            const sender = channels.size
            channels.set(sender, readOpen(payload).sender)
            say(confirm(payload, window, sender))
          } else if (payload[0] === M.data) say(...answer(channels.get(recipientOf(payload))!))
          else if (payload[0] === M.close) say(plainMessage(M.close, channels.get(recipientOf(payload))!))
        })
      },
    })

  const data = (channel: number, hex: string) => dataMessage(channel, Buffer.from(hex, 'hex'), null)
  const garbage = (channel: number) => data(channel, 'ffffffff')

  async function sftp(client: RawClient, sender: number): Promise<number> {
    client.open(sender)
    const channel = await confirmed(client)
    client.send(u8(M.request), u32(channel), field('subsystem'), u8(1), field('sftp'))
    client.send(data(channel, '000000050100000003'))
    return channel
  }

  test('nothing comes behind the CLOSE of a channel that makes no sense: no reply, no data, no window', async () => {
    const world = await nonsense(2 ** 20, channel => [
      garbage(channel),
      plainMessage(M.success, channel),
      data(channel, 'aa'.repeat(100)),
      adjustMessage(channel, 5000),
    ])
    const client = await raw(world.port)
    await sftp(client, 0)
    await expect.poll(() => kinds(client)).toContain(M.close)
    await pause(50)
    expect(kinds(client).at(-1)).toBe(M.close)
  })

  test('and such a channel is forgotten when its client closes it, whatever still waited for a window of the target', async () => {
    const world = await nonsense(9, channel => [data(channel, '000000050200000003'), garbage(channel)])
    const client = await raw(world.port)
    for (let i = 0; i < 5; i++) {
      const channel = await sftp(client, i)
      await client.next(M.close)
      await pause(30) // the target closes it first
      client.send(u8(M.close), u32(channel))
    }
  })

  test('a second end of one program ends the connection: it is no more than one event', async () => {
    const exit = (channel: number) => Buffer.concat([u8(M.request), u32(channel), field('exit-status'), u8(0), u32(0)])
    const world = await through({
      target: connection =>
        rawTarget(connection, (payload, say) => {
          if (payload[0] === M.open) say(confirm(payload))
          else if (payload[0] === M.request) say(exit(0), exit(0))
        }),
    })
    const client = await raw(world.port)
    client.open(0)
    client.exec(await confirmed(client))
    expect(await client.over()).toContain('web-1 sent a second end of one program')
  })
})
