import { createHash, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import ssh2 from 'ssh2'
import { Listeners } from '../../../src/gateway/listeners.ts'
import type { Door, KeyPair, Opened, Refusal } from '../../../src/gateway/protocol.ts'
import { accept } from '../../../src/protocols/ssh/accept.ts'
import { ssh } from '../../../src/protocols/ssh/index.ts'
import { type InnerProtocol, inner, send } from '../../../src/protocols/ssh/inside.ts'
import { type SshLimits, sshLimits } from '../../../src/protocols/ssh/limits.ts'
import { M } from '../../../src/protocols/ssh/relay/messages.ts'
import { verifiers } from '../../../src/protocols/ssh/tickets.ts'
import { FieldReader, field, u8, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { Secret } from '../../../src/secret.ts'
import { keyFiles } from './kit.ts'

/**
 * The gateway's own way from a client's socket to a target's, in this process, with a door that knows one ticket and a
 * policy that allows everything: what is left is the wire. Client and target are of ssh2, and as bad as a test wants.
 */
export interface ThroughOptions {
  readonly limits?: Partial<SshLimits>
  readonly login_ms?: number
  /** What the target does with a command. */
  readonly exec?: (channel: ssh2.ServerChannel) => void
  readonly session?: (session: ssh2.Session) => void
  /** Sees each connection of the target before its login. */
  readonly target?: (connection: ssh2.Connection) => void
  /** In the place of a target that speaks SSH. */
  readonly socket?: (socket: Socket) => void
  /** Nobody watches, and policy demands it; or whether somebody does, as it changes. */
  readonly unwatched?: boolean | Opened['moderation']
  /** Where policy does not allow everything. */
  readonly judge?: Opened['gate']['judge']
  readonly max_per_address?: number
  /** As whom the gateway logs in there. */
  readonly login?: string
  readonly auth?: { readonly kind: 'password' } | { readonly kind: 'key'; readonly pem: string }
  readonly client?: Partial<ssh2.ConnectConfig>
  readonly strict?: boolean
  /** What is recorded is not shipped until this resolves. */
  readonly behind?: Promise<void>
}

export const ticketId = 'tkt_00000000000000000000000000'
export const ticketSecret = 'secret-of-the-ticket'
const targetHost = keyFiles()
const pairs = new Map<string, KeyPair>()
const keys = (purpose: string): KeyPair => {
  if (!pairs.has(purpose)) pairs.set(purpose, generateKeyPairSync('ed25519'))
  return pairs.get(purpose)!
}
const closers = new Set<() => void>()

export function closeAll(): void {
  for (const close of closers) close()
  closers.clear()
}

export interface Through {
  readonly port: number
  /** Of the failed logins that the door was told of. */
  readonly failed: [reason: string, facts: Record<string, string>][]
  readonly records: [kind: string, body: Record<string, unknown>][]
  /** By the gateway, whatever policy says. */
  readonly refused: string[]
  readonly closedWith: string[]
  /** The sockets of the gateway: towards clients, and towards the target. */
  readonly clients: Socket[]
  readonly targets: Socket[]
  readonly targetSide: ssh2.Connection[]
  end(refusal: Partial<Refusal>): void
  /** Messages of the first target, as ssh2 would never send them. */
  say(...messages: Buffer[]): void
}

export async function through(options: ThroughOptions = {}): Promise<Through> {
  const found: Through = {
    port: 0,
    failed: [],
    records: [],
    refused: [],
    closedWith: [],
    clients: [],
    targets: [],
    targetSide: [],
    say: (...messages) => {
      for (const message of messages) send(inner(found.targetSide[0]!)._protocol, message)
    },
    end: refusal =>
      ended.abort({ refused: true, code: 'session_ended', message: '', remedy: '', decision_id: null, ...refusal }),
  }
  const ended = new AbortController()
  const targetSocket = options.socket ?? (socket => void targetServer(options, found).injectSocket(socket))
  const target = await listening(createServer(socket => targetSocket(socket.on('error', () => {}))))
  const limits = { ...sshLimits, ...options.limits }
  const { max_per_address = 100 } = options
  const listeners = new Listeners(
    { host: '127.0.0.1', ports: { ssh: 0 }, max_connections: 1000, max_per_address },
    () => door(options, found, ended.signal, target),
  )
  const serve = (socket: Socket, itsDoor: Door) => {
    found.clients.push(socket)
    return accept(socket, itsDoor, limits)
  }
  await listeners.listen([{ ...ssh, accept: serve }])
  closers.add(() => {
    void listeners.close(0)
    for (const socket of [...found.clients, ...found.targets]) socket.destroy()
  })
  return Object.assign(found, { port: listeners.port('ssh')! })
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.add(() => server.close())
  return (server.address() as AddressInfo).port
}

function targetServer(options: ThroughOptions, found: Through): ssh2.Server {
  const server = new ssh2.Server({ hostKeys: [targetHost.private] })
  server.on('connection', connection => {
    found.targetSide.push(connection)
    connection.on('error', () => {})
    options.target?.(connection)
    connection.on('authentication', context => context.accept())
    connection.on('session', take => {
      const session = take()
      if (options.session !== undefined) options.session(session)
      else session.on('exec', begin => options.exec?.(begin()))
    })
  })
  return server
}

function door(options: ThroughOptions, found: Through, ended: AbortSignal, port: number): Door {
  const kept = verifiers(new Secret(ticketSecret), {}, keys)
  const auth = options.auth ?? { kind: 'password' }
  const resource = {
    name: 'web-1',
    protocol: 'ssh',
    host: '127.0.0.1',
    port,
    labels: {},
    secret: null,
    options: { host_keys: [targetHost.public], login: { operator: 'deploy' }, auth: { kind: auth.kind } },
  }
  const opened = {
    refused: false,
    connection_id: 'con',
    session_id: 'ses',
    subject: { id: 'sub' },
    resource,
    role: 'operator',
    target: {
      resource,
      connect: async () => {
        const socket = connect(port, '127.0.0.1').on('error', () => {})
        found.targets.push(socket)
        await once(socket, 'connect')
        return socket
      },
    },
    credential: { user: options.login ?? 'deploy', secret: new Secret(auth.kind === 'key' ? auth.pem : 'password') },
    gate: {
      judge: options.judge ?? (() => ({ allowed: true, decision: null, message: '', detail: '', remedy: '' })),
      refuse: ({ message }: { message: string }) => void found.refused.push(message),
      record: (kind: string, body: Record<string, unknown>) =>
        void (kind !== 'output' && found.records.push([kind, body])),
      recordOriginal: () => {},
      commit: () => (options.strict === true ? new Promise<boolean>(done => setTimeout(done, 1, true)) : true),
      behind: () => options.behind,
      settings: { level: 'full', results: 'all', head_rows: 0, originals: 'drop' },
    },
    moderation:
      typeof options.unwatched === 'object'
        ? options.unwatched
        : {
            required: options.unwatched === true,
            state: () => (options.unwatched === true ? 'waiting' : 'watched'),
            message: 'waiting for a moderator',
            onChange: () => ({ [Symbol.dispose]() {} }),
          },
    commands: null,
    ended,
    close: async (reason: string) => void found.closedWith.push(reason),
  } as unknown as Opened
  return {
    protocol: 'ssh',
    address: '127.0.0.1',
    origin: 'http://sallyport.test',
    limits: { login_ms: options.login_ms ?? 20_000, frame_bytes: 1 << 24 },
    keys,
    ticket: async (id: string) =>
      id === ticketId ? { id, resource: 'web-1', role: 'operator', verifiers: kept } : undefined,
    pretence: () => Buffer.alloc(32, 1),
    open: async () => opened,
    failed: (reason: string, facts: Record<string, string>) => void found.failed.push([reason, facts]),
  } as unknown as Door
}

/** A client that is logged in, whose messages a test writes and reads itself: no stream of ssh2's stands between. */
export class RawClient {
  readonly client: ssh2.Client
  readonly socket: Socket
  readonly protocol: InnerProtocol
  /** Messages of the connection protocol, as they came. */
  readonly got: Buffer[] = []
  /** What the gateway says when it cuts the link. */
  lastWords = ''
  #told: () => void = () => {}

  constructor(client: ssh2.Client, socket: Socket) {
    this.client = client
    this.socket = socket
    this.protocol = inner(client)._protocol
    const theirs = this.protocol._onPayload
    const ours = (payload: Buffer) => {
      if (payload[0] === 1) this.lastWords = new FieldReader(payload, 5).text()
      if (payload[0]! < 80) return theirs(payload)
      this.got.push(payload)
      this.#told()
    }
    this.protocol._onPayload = ours
    if (this.protocol._decipher?._onPayload === theirs) this.protocol._decipher._onPayload = ours
    socket.once('close', () => this.#told())
  }

  send(...parts: Buffer[]): void {
    send(this.protocol, Buffer.concat(parts))
  }

  /** The connection is over. @returns the gateway's last words. */
  async over(): Promise<string> {
    if (!this.socket.destroyed) await once(this.socket, 'close')
    return this.lastWords
  }

  open(sender: number, window = 2 ** 21, packet = 32_768): void {
    this.send(u8(M.open), field('session'), u32(sender), u32(window), u32(packet))
  }

  /** A session channel. @returns the number that the gateway gave it. */
  async opened(window = 2 ** 21): Promise<number> {
    this.open(0, window)
    return new FieldReader(await this.next(M.openConfirmation), 5).u32()
  }

  exec(recipient: number, command = 'x'): void {
    this.send(u8(M.request), u32(recipient), field('exec'), u8(1), field(command))
  }

  /** The next message of a kind, which it takes out with those before it. */
  async next(kind: number): Promise<Buffer> {
    for (;;) {
      while (this.got.length > 0) {
        const payload = this.got.shift()!
        if (payload[0] === kind) return payload
      }
      if (this.socket.destroyed) throw new Error('closed')
      await new Promise<void>(resolve => {
        this.#told = resolve
      })
    }
  }

  /** A channel with a command. @returns the number that the gateway gave it. */
  async running(window = 2 ** 21): Promise<number> {
    const recipient = await this.opened(window)
    this.exec(recipient)
    await this.next(M.success)
    return recipient
  }
}

/** A target whose messages a test reads and writes itself; those that it says together come in one packet. */
export function rawTarget(
  connection: ssh2.Connection,
  hear: (payload: Buffer, say: (...messages: Buffer[]) => void) => void,
): void {
  const { _protocol: protocol, _sock: socket } = inner(connection)
  const say = (...messages: Buffer[]) => {
    socket!.cork()
    for (const message of messages) send(protocol, message)
    socket!.uncork()
  }
  const theirs = protocol._onPayload
  const ours = (payload: Buffer) => {
    if (payload[0]! < 80) return theirs(payload)
    hear(payload, say)
    return undefined
  }
  protocol._onPayload = ours
  if (protocol._decipher?._onPayload === theirs) protocol._decipher._onPayload = ours
}

/** A client of ssh2's. */
export async function dialled(port: number, options: Partial<ssh2.ConnectConfig> = {}) {
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  closers.add(() => socket.destroy())
  await once(socket, 'connect')
  const client = new ssh2.Client().on('error', () => {})
  client.connect({ sock: socket, username: ticketId, password: ticketSecret, hostVerifier: () => true, ...options })
  return { client, socket }
}

export async function entered(port: number, options: Partial<ssh2.ConnectConfig> = {}) {
  const { client, socket } = await dialled(port, options)
  await once(client, 'ready')
  return { client, socket }
}

export async function raw(port: number, options: Partial<ssh2.ConnectConfig> = {}): Promise<RawClient> {
  const { client, socket } = await entered(port, options)
  return new RawClient(client, socket)
}

export function exec(client: ssh2.Client, command = 'x'): Promise<ssh2.ClientChannel> {
  return new Promise((done, fail) => client.exec(command, (error, channel) => (error ? fail(error) : done(channel))))
}

export async function digest(stream: Readable): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256')
  let size = 0
  stream.on('data', (data: Buffer) => {
    hash.update(data)
    size += data.length
  })
  await once(stream, 'end')
  return { size, sha256: hash.digest('hex') }
}

export async function closed(socket: Socket, within_ms = 10_000): Promise<boolean> {
  for (let waited = 0; waited < within_ms; waited += 20) {
    if (socket.destroyed) return true
    await pause(20)
  }
  return false
}

export const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms))
