import { expect, test } from 'vitest'
import type { Hold, Waits } from '../../../src/gateway/protocol.ts'
import { Channel } from '../../../src/protocols/ssh/relay/channel.ts'
import { Holding } from '../../../src/protocols/ssh/relay/holding.ts'
import { dataMessage, requestMessage } from '../../../src/protocols/ssh/relay/messages.ts'
import type { Relay } from '../../../src/protocols/ssh/relay/relay.ts'
import { clientRequest } from '../../../src/protocols/ssh/relay/requests.ts'
import type { Transport } from '../../../src/protocols/ssh/transport.ts'
import { field } from '../../../src/protocols/ssh/wire/fields.ts'

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
