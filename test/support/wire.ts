import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { MessageStream } from '../../src/protocols/postgres/message-stream.ts'
import { frame, int32 } from '../../src/protocols/postgres/messages.ts'
import { mechanism, ScramClient } from '../../src/protocols/postgres/scram.ts'
import { startupMessage } from '../../src/protocols/postgres/startup.ts'
import { Secret } from '../../src/secret.ts'
import type { Ticket } from './psql.ts'

/** A PostgreSQL client that says whatever the test wants, over TLS, with a ticket. */
export class Wire {
  readonly socket: Socket
  readonly key: { readonly number: number; readonly secret: number }
  readonly #messages: MessageStream

  private constructor(socket: Socket, messages: MessageStream, key: Wire['key']) {
    this.socket = socket
    this.#messages = messages
    this.key = key
  }

  static async open(ticket: Ticket, parameters: Record<string, string> = {}): Promise<Wire> {
    const plain = await dialTcp(ticket.host, ticket.port)
    plain.write(Buffer.concat([int32(8), int32(80_877_103)]))
    const [answer] = (await once(plain, 'data')) as [Buffer]
    if (answer.toString() !== 'S') throw new Error(`the gateway declined TLS: ${answer.toString()}`)
    const socket = connectTls({ socket: plain, host: ticket.host, ca: readFileSync(ticket.ca_file) })
    await once(socket, 'secureConnect')
    socket.on('error', () => {})
    const messages = new MessageStream(socket)
    socket.write(startupMessage({ user: ticket.id, database: ticket.database, ...parameters }))
    const scram = new ScramClient(new Secret(ticket.secret))
    let key = { number: 0, secret: 0 }
    for (;;) {
      const { type, body, raw } = await messages.next()
      const letter = String.fromCharCode(type)
      if (letter === 'E') throw new Error(raw.toString('latin1'))
      if (letter === 'K') key = { number: body.int32(), secret: body.int32() }
      if (letter === 'Z') return new Wire(socket, messages, key)
      if (letter !== 'R') continue
      const method = body.int32()
      if (method === 10) {
        const first = scram.first()
        socket.write(frame(0x70, mechanism, 0, int32(first.length), first))
      } else if (method === 11) socket.write(frame(0x70, await scram.final(body.rest().toString('latin1'))))
    }
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames))
  }

  /** Letters and bytes of what came, up to and with the n-th ReadyForQuery. */
  async until(ready = 1): Promise<{ letters: string; text: string }> {
    let letters = ''
    let text = ''
    for (let left = ready; left > 0; ) {
      const { type, raw } = await this.#messages.next()
      letters += String.fromCharCode(type)
      text += raw.toString('latin1')
      if (type === 0x5a) left--
    }
    return { letters, text }
  }

  close(): void {
    this.socket.destroy()
  }
}

export async function dialTcp(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** The frames of a client, by the names of the manual (chapter 55.7). */
export const say = {
  query: (sql: string) => frame(0x51, sql, 0),
  parse: (name: string, sql: string) => frame(0x50, name, 0, sql, 0, Buffer.alloc(2)),
  bind: (portal: string, statement: string) => frame(0x42, portal, 0, statement, 0, Buffer.alloc(6)),
  describe: (portal: string) => frame(0x44, 'P', portal, 0),
  execute: (portal: string) => frame(0x45, portal, 0, int32(0)),
  sync: () => frame(0x53),
  functionCall: (oid: number) => frame(0x46, int32(oid), Buffer.alloc(6)),
  copyData: (bytes: Buffer) => frame(0x64, bytes),
  copyDone: () => frame(0x63),
}
