import { createServer, type Server, type Socket } from 'node:net'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { Door, ListeningProtocol } from './protocol.ts'

const log = logger('gateway')

export interface ListenerSettings {
  readonly host: string
  /** protocol name → port; 0 takes a free one, a protocol that is not named takes its default. */
  readonly ports: Readonly<Record<string, number>>
  readonly max_connections: number
  readonly max_per_address: number
}

/** Makes the door for one client socket. */
export type DoorFor = (protocol: ListeningProtocol, address: string) => Door | undefined

/**
 * One TCP listener a protocol. Under node:cluster the workers share the ports. A connection beyond a cap is closed
 * before a byte of it is read; nothing that a client does ends the listener.
 */
export class Listeners {
  readonly #settings: ListenerSettings
  readonly #doorFor: DoorFor
  readonly #servers = new Map<string, Server>()
  readonly #open = new Set<Socket>()
  readonly #serving = new Set<Promise<void>>()
  readonly #perAddress = new Map<string, number>()
  #accepting = true

  constructor(settings: ListenerSettings, doorFor: DoorFor) {
    this.#settings = settings
    this.#doorFor = doorFor
  }

  /** @throws SallyportError `conflict` when a port is taken. */
  async listen(protocols: readonly ListeningProtocol[]): Promise<void> {
    for (const protocol of protocols) {
      const port = this.#settings.ports[protocol.name] ?? protocol.listener.defaultPort
      const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 }, socket =>
        this.#accept(protocol, socket),
      )
      await listenOn(server, port, this.#settings.host, protocol.name)
      // Out of descriptors, say: the next accept is tried all the same.
      server.on('error', error =>
        log.error({ err: error, protocol: protocol.name }, 'a connection could not be accepted'),
      )
      this.#servers.set(protocol.name, server)
    }
  }

  /** The port that a protocol is served on. */
  port(protocol: string): number | undefined {
    const address = this.#servers.get(protocol)?.address()
    return typeof address === 'object' && address !== null ? address.port : undefined
  }

  get connections(): number {
    return this.#open.size
  }

  /** New connections are closed at once while this is false (the process is not ready). */
  accepting(yes: boolean): void {
    this.#accepting = yes
  }

  /** Stops accepting; what is open gets `graceMs` to end by itself (its sessions have been ended), then is cut. */
  async close(graceMs: number): Promise<void> {
    this.#accepting = false
    for (const server of this.#servers.values()) server.close()
    const cut = setTimeout(() => {
      for (const socket of this.#open) socket.destroy()
    }, graceMs)
    await Promise.allSettled(this.#serving)
    clearTimeout(cut)
    for (const socket of this.#open) socket.destroy()
  }

  #accept(protocol: ListeningProtocol, socket: Socket): void {
    socket.on('error', () => socket.destroy()) // The protocol adds its own listener; without any a reset would be a crash.
    const address = plainAddress(socket.remoteAddress)
    const before = this.#perAddress.get(address) ?? 0
    const full = this.#open.size >= this.#settings.max_connections || before >= this.#settings.max_per_address
    const door = !this.#accepting || full ? undefined : this.#doorFor(protocol, address)
    if (door === undefined) {
      if (full) log.warn({ address, open: this.#open.size }, 'a connection beyond the limits was closed')
      socket.destroy()
      return
    }
    this.#open.add(socket)
    this.#perAddress.set(address, before + 1)
    socket.once('close', () => {
      this.#open.delete(socket)
      const left = (this.#perAddress.get(address) ?? 1) - 1
      if (left > 0) this.#perAddress.set(address, left)
      else this.#perAddress.delete(address)
    })
    const serving = protocol
      .accept(socket, door)
      .catch(error => log.error({ err: error, protocol: protocol.name }, 'a connection ended with a fault'))
      .finally(() => {
        socket.destroy()
        this.#serving.delete(serving)
      })
    this.#serving.add(serving)
  }
}

function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/i, '')
}

function listenOn(server: Server, port: number, host: string, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', error =>
      reject(
        new SallyportError('conflict', `port ${port} on ${host} for ${name} cannot be used: ${error.message}`, {
          remedy: 'stop what listens there, or choose another port under gateway.ports',
          cause: error,
        }),
      ),
    )
    server.listen({ host, port, backlog: 511 }, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })
}
