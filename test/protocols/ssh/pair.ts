import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import ssh2 from 'ssh2'
import { towardsClients } from '../../../src/protocols/ssh/algorithms.ts'
import {
  hardenClient,
  hardenServer,
  limitLogin,
  type SshLimits,
  sshLimits,
} from '../../../src/protocols/ssh/hardening.ts'
import { type InnerClient, inner } from '../../../src/protocols/ssh/inside.ts'

/** A hardened server in this process, and ssh2's own client, of which a test makes an attacker. */
export interface Pair {
  readonly client: ssh2.Client
  readonly connection: ssh2.Connection
  readonly clientSocket: Socket
  readonly serverSocket: Socket
  /** The inner parts of the client, to do with them what no client should. */
  readonly raw: InnerClient & { readonly _protocol: RawProtocol }
}

export type RawProtocol = InnerClient['_protocol'] & {
  channelData(id: number, data: Buffer): void
  channelWindowAdjust(id: number, amount: number): void
}

export interface PairOptions {
  readonly limits?: Partial<SshLimits>
  readonly hardenedClient?: boolean
  readonly server?: Partial<ssh2.ServerConfig>
  readonly client?: Partial<ssh2.ConnectConfig>
  readonly exec?: (channel: ssh2.ServerChannel) => void
  readonly accept?: (take: () => ssh2.ServerChannel, session: ssh2.Session) => void
}

const host = ssh2.utils.generateKeyPairSync('ed25519').private
const open = new Set<() => void>()

export function closePairs(): void {
  for (const close of open) close()
  open.clear()
}

/** @param connected false: does not wait for the client to be authenticated */
export async function listen(options: PairOptions): Promise<{
  readonly port: number
  readonly next: () => Promise<{ connection: ssh2.Connection; socket: Socket }>
}> {
  const limits = { ...sshLimits, ...options.limits }
  const server = new ssh2.Server({ hostKeys: [host], algorithms: towardsClients, ...options.server })
  const arrived: ((found: { connection: ssh2.Connection; socket: Socket }) => void)[] = []
  const sockets: Socket[] = []
  server.on('connection', connection => {
    const socket = (connection as unknown as { _sock: Socket })._sock
    hardenServer(connection, socket, limits)
    connection.on('error', () => {})
    connection.on('authentication', context => {
      if (context.method === 'none' && context.username !== 'ada') context.reject(['password'])
      else if (context.username === 'ada') context.accept()
      else context.reject(['password'])
    })
    connection.on('session', accept => {
      const session = accept()
      session.on('exec', take => {
        if (options.accept !== undefined) options.accept(take, session)
        else options.exec?.(take())
      })
    })
    arrived.shift()?.({ connection, socket })
  })
  const net = createServer(socket => {
    sockets.push(socket)
    socket.on('error', () => {})
    limitLogin(socket, limits)
    server.injectSocket(socket)
  })
  net.listen(0, '127.0.0.1')
  await once(net, 'listening')
  open.add(() => {
    net.close()
    for (const socket of sockets) socket.destroy()
  })
  return { port: (net.address() as AddressInfo).port, next: () => new Promise(found => arrived.push(found)) }
}

export async function pair(options: PairOptions = {}): Promise<Pair> {
  const { port, next } = await listen(options)
  const arriving = next()
  const { client, clientSocket } = await dial(port, options)
  await once(client, 'ready')
  const { connection, socket } = await arriving
  return { client, connection, clientSocket, serverSocket: socket, raw: inner(client) as Pair['raw'] }
}

export async function dial(
  port: number,
  options: PairOptions = {},
): Promise<{ client: ssh2.Client; clientSocket: Socket }> {
  const clientSocket = connect(port, '127.0.0.1')
  clientSocket.on('error', () => {})
  open.add(() => clientSocket.destroy())
  await once(clientSocket, 'connect')
  const client = new ssh2.Client()
  client.on('error', () => {})
  client.connect({
    sock: clientSocket,
    username: 'ada',
    authHandler: ['none'],
    hostVerifier: () => true,
    keepaliveInterval: 15_000,
    ...options.client,
  })
  if (options.hardenedClient === true) hardenClient(client, clientSocket, { ...sshLimits, ...options.limits })
  return { client, clientSocket }
}

export function exec(client: ssh2.Client, command = 'x'): Promise<ssh2.ClientChannel> {
  return new Promise((done, fail) => client.exec(command, (error, channel) => (error ? fail(error) : done(channel))))
}

/** The number of a channel on each side, for messages that ssh2 would not send. */
export function numbers(channel: ssh2.ClientChannel): { readonly theirs: number } {
  return { theirs: (channel as unknown as { outgoing: { id: number } }).outgoing.id }
}

export async function closed(socket: Socket, within_ms = 5000): Promise<boolean> {
  for (let waited = 0; waited < within_ms; waited += 20) {
    if (socket.destroyed) return true
    await new Promise(done => setTimeout(done, 20))
  }
  return false
}

export const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms))
