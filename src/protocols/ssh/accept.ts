import type { Socket } from 'node:net'
import ssh2, { type Connection } from 'ssh2'
import { SallyportError } from '../../errors.ts'
import type { Door, Opened, Refusal } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { preferFastCiphers, towardsClients } from './algorithms.ts'
import { lastWords } from './deny.ts'
import { dial } from './dial.ts'
import { hardenServer } from './hardening.ts'
import { inner } from './inside.ts'
import { hostKey } from './keys.ts'
import { type SshLimits, sshLimits } from './limits.ts'
import { type LoggedIn, Login } from './login.ts'
import { Relay } from './relay/relay.ts'
import { Transport } from './transport.ts'
import { privateKeyFile } from './wire/private-key.ts'

const log = logger('ssh')
const never = 2 ** 31 - 1

interface Front {
  readonly connection: Connection
  readonly transport: Transport
  readonly login: LoggedIn
}

/** Serves one client socket to its end: key exchange, login by ticket, the target, then the relay. Never throws. */
export async function accept(socket: Socket, door: Door, limits: SshLimits = sshLimits): Promise<void> {
  // Whoever is slow proved nothing wrong: not a failed login of that address, which may be shared.
  const slow = setTimeout(() => {
    log.info({ address: door.address }, 'a client took too long to log in')
    socket.destroy()
  }, door.limits.login_ms)
  try {
    const front = await logIn(socket, door, limits)
    clearTimeout(slow)
    if (front !== undefined) await serve(front, door, limits)
  } catch (error) {
    log.error({ err: error }, 'a connection failed')
  } finally {
    clearTimeout(slow)
    if (!socket.destroyed) await new Promise(resolve => socket.once('close', resolve))
  }
}

/** @returns undefined when the client left, or was sent away, before it was known. */
function logIn(socket: Socket, door: Door, limits: SshLimits): Promise<Front | undefined> {
  return new Promise(resolve => {
    socket.once('close', () => resolve(undefined))
    waiting.set(socket, connection => {
      connection.on('error', error => {
        if ((error as { level?: string }).level === 'handshake') door.failed('malformed', { why: error.message })
        socket.destroySoon()
      })
      hardenServer(connection, socket, limits)
      const transport = new Transport(connection, socket, limits)
      transport.onEarly(() => {
        door.failed('malformed', { why: 'a message of the connection protocol before the login' })
        transport.disconnect('sallyport: log in first')
      })
      const login = new Login(
        door,
        known => resolve({ connection, transport, login: known }),
        words => transport.disconnect(`sallyport: ${words}`),
        limits,
      )
      login.attach(connection)
    })
    serverFor(door).injectSocket(socket)
  })
}

/** ssh2 says which of its connections has spoken, by its socket. */
const waiting = new WeakMap<Socket, (connection: Connection) => void>()
const servers = new Map<string, ssh2.Server>()

/** One for all connections of a worker: the host key is parsed once. */
function serverFor(door: Door): ssh2.Server {
  const key = privateKeyFile(door.keys(hostKey).privateKey).reveal()
  const name = String(door.keys(hostKey).publicKey.export({ format: 'jwk' }).x)
  let server = servers.get(name)
  if (server === undefined) {
    server = new ssh2.Server({
      hostKeys: [key],
      algorithms: towardsClients,
      ident: 'Sallyport',
      keepaliveInterval: never, // `Transport` asks by itself
    } as ssh2.ServerConfig)
    server.on('connection', (connection, { header }) => {
      preferFastCiphers(connection, header.versions.software)
      const socket = inner(connection)._sock!
      const run = waiting.get(socket)
      waiting.delete(socket)
      if (run === undefined) connection.end()
      else run(connection)
    })
    servers.set(name, server)
  }
  return server
}

/** What the client asks for before the target is there waits: nothing is read of it until it can be judged. */
async function serve({ transport, login }: Front, door: Door, limits: SshLimits): Promise<void> {
  const opened = await door.open(login.ticket, { application: 'ssh', facts: login.proof })
  if (opened.refused) return transport.disconnect(lastWords(opened))
  try {
    const keyId = `${opened.session_id} ${opened.subject.id}`
    const { transport: target } = await dial(opened.permit, opened.target, opened.credential, keyId, limits)
    await opened.close(await new Relay(opened, { client: transport, target }, limits).run())
  } catch (error) {
    const refusal = faultWords(error, opened)
    transport.disconnect(lastWords(refusal))
    await opened.close(refusal.message)
  }
}

function faultWords(error: unknown, opened: Opened): Pick<Refusal, 'message' | 'remedy'> {
  if (error instanceof SallyportError) return error
  log.error({ err: error, session_id: opened.session_id }, 'a connection failed')
  return { message: 'the gateway failed to open the connection', remedy: 'try again; its log has the fault' }
}
