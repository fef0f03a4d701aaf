import { afterEach, describe, expect, test } from 'vitest'
import { SessionModeration } from '../../../src/gateway/moderation/moderation.ts'
import type { Hold, Verdict, Waits } from '../../../src/gateway/protocol.ts'
import { Channel } from '../../../src/protocols/ssh/relay/channel.ts'
import { Holding } from '../../../src/protocols/ssh/relay/holding.ts'
import { dataMessage, M, plainMessage, requestMessage } from '../../../src/protocols/ssh/relay/messages.ts'
import type { Relay } from '../../../src/protocols/ssh/relay/relay.ts'
import { clientRequest } from '../../../src/protocols/ssh/relay/requests.ts'
import type { Transport } from '../../../src/protocols/ssh/transport.ts'
import { field } from '../../../src/protocols/ssh/wire/fields.ts'
import { closeAll, raw, through } from './through.ts'

afterEach(closeAll)

const nothing = {} as Transport
const fresh = () =>
  new Channel(0, { type: 'session', sender: 0 } as ConstructorParameters<typeof Channel>[1], 'client', nothing, nothing)

test('a client that heeds no window fills no memory with what waits behind its command', () => {
  const said: string[] = []
  const hold: Hold = {
    id: 'req_1',
    settled: new Promise(() => {}),
    onProgress: () => ({ [Symbol.dispose]: () => {} }),
    withdraw: reason => said.push(reason),
  }
  const holding = new Holding({} as Relay, fresh(), hold, () => {})
  const message = dataMessage(0, Buffer.alloc(256 * 1024), null)
  for (let i = 0; i < 14; i++) holding.keeps(message)
  expect(said).toEqual([])
  for (let i = 0; i < 8; i++) holding.keeps(message)
  expect(said[0]).toBe('too much was sent to it before it ran')
})

test('approvers of a command see which variables its client set before', () => {
  let waits: Waits | undefined
  const relay = {
    opened: { commands: null },
    lanes: { client: { push: () => {} } },
    judge: (...[, , given]: Parameters<Relay['judge']>) => {
      waits = given
      return { allowed: true, decision: null, message: '', detail: '', remedy: '' }
    },
  } as unknown as Relay
  const channel = fresh()
  const ask = (type: string, ...fields: string[]) =>
    clientRequest(relay, channel, requestMessage(0, type, true, Buffer.concat(fields.map(each => field(each)))))
  ask('env', 'LC_WHAT', 'rm -rf /')
  ask('exec', 'sh -c "$LC_WHAT"')
  expect(waits!.shown()).toEqual([
    { label: 'Variables that the client set (values are not shown)', lines: ['LC_WHAT'] },
  ])
})

describe('while nobody watches', () => {
  const unwatched = () => new SessionModeration('ses_1', { moderators: ['security'], idle_s: 60 })

  test('the CLOSE of a held command takes it back at once, and is answered', async () => {
    const moderation = unwatched()
    moderation.seen(true, performance.now())
    const withdrawn: string[] = []
    let settle = (_: Verdict) => {}
    const denied: Verdict = { allowed: false, decision: null, message: 'withdrawn', detail: '', remedy: '' }
    const hold: Hold = {
      id: 'req_1',
      settled: new Promise(resolve => (settle = resolve)),
      onProgress: () => ({ [Symbol.dispose]: () => {} }),
      withdraw: reason => {
        withdrawn.push(reason)
        settle(denied)
      },
    }
    const ran: string[] = []
    const world = await through({
      unwatched: moderation,
      judge: () => ({ ...denied, held: hold }),
      session: session => session.on('exec', (_accept, _reject, info) => ran.push(info.command)),
    })
    const client = await raw(world.port)
    const channel = await client.opened()
    client.exec(channel, 'halt')
    await expect.poll(() => world.records.some(([kind]) => kind === 'channel_open')).toBe(true)
    await new Promise(done => setTimeout(done, 50))
    moderation.seen(false, performance.now())
    client.send(dataMessage(channel, Buffer.from('behind it'), null))
    client.send(plainMessage(M.close, channel))
    await expect.poll(() => withdrawn).toEqual(['the client closed it'])
    world.say(plainMessage(M.close, channel)) // as sshd answers
    await client.next(M.close)
    expect(withdrawn).toEqual(['the client closed it'])
    await expect.poll(() => world.records.some(([kind]) => kind === 'channel_close')).toBe(true)
    moderation.seen(true, performance.now())
    await new Promise(done => setTimeout(done, 50))
    expect(ran).toEqual([])
    expect(client.socket.destroyed).toBe(false)
  })

  test('a command that its client closes before anybody watched is never run', async () => {
    const moderation = unwatched()
    const ran: string[] = []
    const world = await through({
      unwatched: moderation,
      session: session => session.on('exec', (_accept, _reject, info) => ran.push(info.command)),
    })
    const client = await raw(world.port)
    const channel = await client.opened()
    client.exec(channel, 'late')
    client.send(dataMessage(channel, Buffer.from('behind it'), null))
    client.send(plainMessage(M.close, channel))
    await expect.poll(() => world.refused).toHaveLength(1)
    world.say(plainMessage(M.close, channel))
    await client.next(M.close)
    expect(world.refused).toEqual(['its client closed it before anybody watched'])
    moderation.seen(true, performance.now())
    const next = await client.opened()
    client.exec(next, 'watched')
    await expect.poll(() => ran).toEqual(['watched'])
  })
})

test('Ctrl-C in the terminal of a held command takes it back, and its channel ends with the words', async () => {
  const withdrawn: string[] = []
  let settle = (_: Verdict) => {}
  const denied: Verdict = { allowed: false, decision: null, message: 'taken back', detail: '', remedy: '' }
  const hold: Hold = {
    id: 'req_1',
    settled: new Promise(resolve => (settle = resolve)),
    onProgress: () => ({ [Symbol.dispose]: () => {} }),
    withdraw: reason => {
      withdrawn.push(reason)
      settle(denied)
    },
  }
  const world = await through({
    judge: ([action]) => (action!.kind === 'exec' ? { ...denied, held: hold } : { ...denied, allowed: true }),
    session: session => session.on('pty', accept => accept()),
  })
  const client = await raw(world.port)
  const channel = await client.opened()
  const sizes = Buffer.alloc(16)
  client.send(requestMessage(channel, 'pty-req', true, Buffer.concat([field('xterm'), sizes, field('')])))
  await client.next(M.success)
  client.exec(channel, 'halt')
  client.send(dataMessage(channel, Buffer.from('\x03'), null))
  expect((await client.next(M.extendedData)).toString()).toContain('taken back')
  await client.next(M.close)
  expect(withdrawn[0]).toBe('it was cancelled by who sent it')
})
