import type { Socket } from 'node:net'
import type ssh2 from 'ssh2'
import { type FlowLimits, hardenFlow, isSession } from './flow.ts'
import {
  checkLibrary,
  type Handler,
  type InnerClient,
  type InnerProtocol,
  type InnerSession,
  inner,
  messages,
  reasons,
  send,
} from './inside.ts'
import { field, u8, u32 } from './wire/fields.ts'

/**
 * What ssh2 leaves open, closed on one connection. The numbers are those of wire/README.md, "Holes of ssh2"; each cure has a test
 * that fails without it. Points 1–4 are in `flow.ts`, 8 and 10 in `algorithms.ts` and here.
 */
export interface SshLimits extends FlowLimits {
  /** From the first byte until the client is authenticated. */
  readonly login_s: number
  /** Failed proofs of one connection; the question for the methods (`none`) is not one. */
  readonly tries: number
  /** Channels that are open at once on one connection. */
  readonly channels: number
  /** How long a peer has to close its side after ours was closed. */
  readonly linger_s: number
  readonly rekey_bytes: number
  readonly rekey_s: number
  /** How long an exchange of keys may take once the client is authenticated. */
  readonly rekey_stall_s: number
}

export const sshLimits: SshLimits = {
  login_s: 60,
  tries: 6,
  channels: 64,
  outgoing_bytes: 1024 * 1024,
  outgoing_max_bytes: 16 * 1024 * 1024,
  linger_s: 5,
  rekey_bytes: 1024 ** 3,
  rekey_s: 3600,
  rekey_stall_s: 30,
}

const requestsPerTry = 10
/** Exchanges that a peer may start for nothing; beyond them it must have moved data for each. */
const freeExchanges = 100
const bytesPerExchange = 64 * 1024
const signatures =
  'ssh-ed25519,sk-ssh-ed25519@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,' +
  'sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256'

const logins = new WeakMap<Socket, NodeJS.Timeout>()

/**
 * Point 6: starts the time that a login may take. Call it before `Server.injectSocket`: ssh2 says nothing of a client
 * that says nothing.
 */
export function limitLogin(socket: Socket, limits: SshLimits = sshLimits): void {
  const timer = setTimeout(() => socket.destroy(), limits.login_s * 1000)
  logins.set(socket, timer)
  socket.once('close', () => clearTimeout(timer))
}

/** Call it first thing in the `connection` event of the server. */
export function hardenServer(connection: ssh2.Connection, socket: Socket, limits: SshLimits = sshLimits): void {
  checkLibrary()
  const client = inner(connection)
  if (!logins.has(socket)) limitLogin(socket, limits)
  connection.once('ready', () => clearTimeout(logins.get(socket)))
  hardenFlow(client, socket, limits)
  limitTries(client, socket, limits)
  limitChannels(client, limits)
  holdUntilAccepted(client, socket)
  refuseBeforeLogin(client, socket)
  mendExtInfo(client._protocol)
  watch(connection, socket, limits)
}

/** Call it right after `Client.connect`, which must have a `hostVerifier` (point 9) and a `keepaliveInterval`. */
export function hardenClient(connection: ssh2.Client, socket: Socket, limits: SshLimits = sshLimits): void {
  checkLibrary()
  const client = inner(connection)
  if (typeof client._protocol._hostVerifier !== 'function') {
    socket.destroy()
    throw new Error('ssh2 would take any host key: connect needs a hostVerifier')
  }
  if (!(client.config!.keepaliveInterval > 0)) {
    socket.destroy()
    throw new Error('ssh2 would not notice a target that is gone: connect needs a keepaliveInterval')
  }
  hardenFlow(client, socket, limits)
  watch(connection, socket, limits)
}

function limitTries(client: InnerClient, socket: Socket, limits: SshLimits): void {
  const protocol = client._protocol
  const fail = protocol.authFailure.bind(protocol)
  let left = limits.tries
  let requests = limits.tries * requestsPerTry
  let asked = false
  const over = () => {
    protocol.disconnect(reasons.NO_MORE_AUTH_METHODS_AVAILABLE)
    socket.end()
    cutSoon(socket, limits)
  }
  protocol.authFailure = (methods, partial) => {
    if (partial === true || --left > 0) fail(methods, partial)
    else over()
  }
  const request = protocol._handlers['USERAUTH_REQUEST']!
  protocol._handlers['USERAUTH_REQUEST'] = (from, user, service, method, data) => {
    if (method === 'none' && !asked) left++
    asked = true
    if (--requests < 0) over()
    else request(from, user, service, method, data)
  }
}

function limitChannels(client: InnerClient, limits: SshLimits): void {
  const handlers = client._protocol._handlers
  const open = handlers['CHANNEL_OPEN']!
  handlers['CHANNEL_OPEN'] = (from, info) => {
    if (client._chanMgr._count < limits.channels) open(from, info)
    else from.channelOpenFail(info.sender, reasons.RESOURCE_SHORTAGE, `more than ${limits.channels} channels`)
  }
}

/**
 * Point 5: between a request and its `accept`, ssh2 drops the client's data, and an EOF makes `accept` give nothing. Here
 * both wait, within the window, so that a target may be asked first.
 */
function holdUntilAccepted(client: InnerClient, socket: Socket): void {
  const handlers = client._protocol._handlers
  const held = new WeakMap<InnerSession, { data: Buffer[]; bytes: number; eof: boolean }>()
  const watched = new WeakSet<InnerSession>()
  const { CHANNEL_REQUEST: request, CHANNEL_DATA: data, CHANNEL_EOF: eof } = handlers as Record<string, Handler>

  const startsWith = (session: InnerSession, recipient: number) => {
    const emit = session.emit.bind(session)
    session.emit = (event, ...parameters) => {
      if (event !== 'shell' && event !== 'exec' && event !== 'subsystem') return emit(event, ...parameters)
      const [accept, reject, ...rest] = parameters as [() => unknown, (() => void) | undefined]
      const kept = { data: [] as Buffer[], bytes: 0, eof: false }
      if (session._channel === undefined) held.set(session, kept)
      const taken = () => {
        const channel = accept()
        held.delete(session)
        if (channel === undefined) return channel
        for (const each of kept.data) data!(client._protocol, recipient, each)
        if (kept.eof) eof!(client._protocol, recipient)
        return channel
      }
      const refused = () => {
        held.delete(session)
        reject?.()
      }
      return emit(event, taken, refused, ...rest)
    }
  }
  handlers['CHANNEL_REQUEST'] = (from, recipient: number, ...rest) => {
    const session = client._chanMgr.get(recipient)
    if (isSession(session) && !watched.has(session)) {
      watched.add(session)
      startsWith(session, recipient)
    }
    request!(from, recipient, ...rest)
  }
  const keptFor = (recipient: number) => {
    const session = client._chanMgr.get(recipient)
    return isSession(session) ? { session, kept: held.get(session) } : undefined
  }
  handlers['CHANNEL_DATA'] = (from, recipient: number, bytes: Buffer) => {
    const found = keptFor(recipient)
    if (found?.kept === undefined) return data!(from, recipient, bytes)
    found.kept.bytes += bytes.length
    if (found.kept.bytes > found.session._chanInfo.incoming.window) return void socket.destroy()
    found.kept.data.push(Buffer.from(bytes))
  }
  handlers['CHANNEL_EOF'] = (from, recipient: number) => {
    const kept = keptFor(recipient)?.kept
    if (kept === undefined) eof!(from, recipient)
    else kept.eof = true
  }
}

/** SS3 (CVE-2025-32433, RFC 4252 §6): a message of the connection protocol before authentication ends the connection. */
function refuseBeforeLogin(client: InnerClient, socket: Socket): void {
  const handlers = client._protocol._handlers
  for (const name of Object.keys(handlers).filter(each => /^(CHANNEL|GLOBAL|REQUEST)_/.test(each))) {
    const handle = handlers[name]!
    handlers[name] = (from, ...parameters) => {
      if (client.authenticated === true) return handle(from, ...parameters)
      from.disconnect(reasons.PROTOCOL_ERROR)
      socket.destroySoon()
    }
  }
}

/** Point 8: ssh2's `server-sig-algs` lacks a comma and names SHA-1 and DSA; ours is sent in its place. */
function mendExtInfo(protocol: InnerProtocol): void {
  const complete = protocol._onHandshakeComplete
  let first = true
  protocol._onHandshakeComplete = (...negotiated) => {
    const wanted = first && protocol._kex?.remoteExtInfoEnabled === true
    first = false
    if (wanted) protocol._kex!.remoteExtInfoEnabled = false
    complete(...negotiated)
    if (!wanted) return
    send(protocol, Buffer.concat([u8(messages.EXT_INFO), u32(1), field('server-sig-algs'), field(signatures)]))
  }
}

/** Points 7 and 11: what ended is cut, what is silent is cut, and keys are renewed by bytes and by time. */
function watch(connection: ssh2.Client | ssh2.Connection, socket: Socket, limits: SshLimits): void {
  const protocol = inner(connection)._protocol
  let ready = false
  let exchanges = 0
  let since = { at: Date.now(), bytes: 0 }
  let stalled_s = 0
  const moved = () => socket.bytesRead + socket.bytesWritten
  const emitter = connection as NodeJS.EventEmitter
  emitter
    .on('error', (error: Error & { level?: string }) => {
      if (error.level === 'client-timeout') socket.destroy()
      else cutSoon(socket, limits)
    })
    .on('end', () => cutSoon(socket, limits))
    .once('ready', () => {
      ready = true
    })
    .on('handshake', () => {
      since = { at: Date.now(), bytes: moved() }
      if (++exchanges > freeExchanges + moved() / bytesPerExchange) socket.destroy()
    })
  const timer = setInterval(() => {
    if (!ready || socket.destroyed) return
    stalled_s = protocol._kexinit === undefined ? 0 : stalled_s + 1
    if (stalled_s > limits.rekey_stall_s) return void socket.destroy()
    const due = moved() - since.bytes >= limits.rekey_bytes || Date.now() - since.at >= limits.rekey_s * 1000
    if (due && stalled_s === 0) protocol.rekey()
  }, 1000)
  timer.unref()
  socket.once('close', () => clearInterval(timer))
}

function cutSoon(socket: Socket, limits: SshLimits): void {
  if (socket.destroyed) return
  const timer = setTimeout(() => socket.destroy(), limits.linger_s * 1000)
  socket.once('close', () => clearTimeout(timer))
}
