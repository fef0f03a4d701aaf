import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { ConnectionClosed, MessageStream } from '../../../src/protocols/postgres/message-stream.ts'
import { readyForQuery } from '../../../src/protocols/postgres/messages.ts'

function stream() {
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  return { socket, messages: new MessageStream(socket as unknown as Socket) }
}

test('whoever waits for a message when the stream is let go hears that none comes, and so does who asks later', async () => {
  const { messages } = stream()
  const waiting = messages.next()
  messages.detach()
  await expect(waiting).rejects.toThrow(ConnectionClosed)
  await expect(messages.next()).rejects.toThrow(ConnectionClosed)
})

test('what was read and not taken is handed over when the stream is let go', async () => {
  const { socket, messages } = stream()
  const [whole, half] = [readyForQuery(73), Buffer.from([0x5a, 0, 0])]
  socket.push(Buffer.concat([whole, whole, half]))
  expect((await messages.next()).raw).toEqual(whole)
  expect(messages.detach()).toEqual(Buffer.concat([whole, half]))
})
