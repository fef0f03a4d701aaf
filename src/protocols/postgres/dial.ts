import { isIP, type Socket } from 'node:net'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { SallyportError } from '../../errors.ts'
import type { Minted, Target } from '../../gateway/protocol.ts'
import type { Permit } from '../../policy/permit.ts'
import { MessageStream } from './message-stream.ts'
import { C, decodeError, frame, int32, S } from './messages.ts'
import { type Options, sslModeOf } from './options.ts'
import { mechanism, ScramClient } from './scram.ts'
import { startupMessage } from './startup.ts'

/** A connection to the target after its ReadyForQuery. */
export interface Upstream {
  readonly socket: Socket
  readonly messages: MessageStream
  /** ParameterStatus as reported at start: the truth about the server, passed on. */
  readonly parameters: ReadonlyMap<string, string>
  /** For a CancelRequest; null where the target gave none. */
  readonly key: { readonly process: number; readonly secret: Buffer } | null
}

const loginMs = 15_000

/** Dials, encrypts, authenticates. @throws SallyportError `target_unavailable` in words that name no secret. */
export async function dial(
  permit: Permit,
  target: Target,
  credentials: Minted,
  settings: Readonly<Record<string, string>>,
): Promise<Upstream> {
  const options = target.resource.options as Options
  const raw = await target.connect(permit)
  const timer = setTimeout(() => raw.destroy(new Error('the login took too long')), loginMs)
  try {
    const socket = await secure(raw, target)
    const messages = new MessageStream(socket)
    socket.write(startupMessage({ user: credentials.user, database: options.database, ...settings }))
    return await login(socket, messages, credentials, target.resource.name)
  } catch (error) {
    raw.destroy()
    throw error instanceof SallyportError ? error : unavailable(target.resource.name, (error as Error).message)
  } finally {
    clearTimeout(timer)
  }
}

/** Asks the target to cancel what a connection runs. Best effort, as in PostgreSQL itself. */
export async function cancel(permit: Permit, target: Target, key: NonNullable<Upstream['key']>): Promise<void> {
  const raw = await target.connect(permit)
  const timer = setTimeout(() => raw.destroy(), 5000)
  raw.on('error', () => raw.destroy())
  try {
    const socket = await secure(raw, target)
    socket.on('error', () => raw.destroy())
    const body = Buffer.concat([int32(80_877_102), int32(key.process), key.secret])
    socket.end(Buffer.concat([int32(body.length + 4), body]))
    await new Promise<void>(resolve => raw.once('close', () => resolve()))
  } finally {
    clearTimeout(timer)
    raw.destroy()
  }
}

/** SSLRequest and TLS, as `sslmode` says. A server that answers more than one byte is not believed (CVE-2021-23222). */
async function secure(raw: Socket, target: Target): Promise<Socket> {
  const { resource } = target
  const mode = sslModeOf(resource.options as Options)
  if (mode === 'disable') return raw
  raw.write(Buffer.concat([int32(8), int32(80_877_103)]))
  const answer = await new Promise<Buffer>((resolve, reject) => {
    raw.once('data', chunk => {
      raw.pause()
      resolve(chunk)
    })
    raw.once('error', reject)
    raw.once('close', () => reject(new Error('it closed the connection when asked for TLS')))
  })
  raw.removeAllListeners('error').removeAllListeners('close')
  raw.on('error', () => {})
  const text = answer.toString('latin1')
  if (text === 'N' && mode === 'prefer') return raw
  if (text === 'N') throw unavailable(resource.name, `it offers no TLS, and its sslmode is ${mode}`)
  if (text !== 'S') throw unavailable(resource.name, 'it answered the request for TLS with something else')
  return upgrade(raw, target, mode)
}

function upgrade(raw: Socket, target: Target, mode: string): Promise<TLSSocket> {
  const { host, name, options } = target.resource
  const { ca } = options as Options
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(unavailable(name, `TLS failed: ${error.message}`))
    const socket = tlsConnect({
      socket: raw,
      host,
      ...(isIP(host) ? {} : { servername: host }),
      ...(ca === undefined ? {} : { ca }),
      rejectUnauthorized: mode === 'verify-ca' || mode === 'verify-full',
      minVersion: 'TLSv1.2',
      ...(mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
    })
    raw.once('close', () => failed(new Error('the connection was closed')))
    socket.once('error', failed)
    socket.once('secureConnect', () => {
      socket.off('error', failed)
      socket.on('error', () => socket.destroy())
      resolve(socket)
    })
  })
}

async function login(socket: Socket, messages: MessageStream, credentials: Minted, name: string): Promise<Upstream> {
  const parameters = new Map<string, string>()
  let key: Upstream['key'] = null
  let scram: ScramClient | undefined
  let proved = true
  for (;;) {
    const { type, body, raw } = await messages.next()
    if (type === S.error) {
      const fields = decodeError(raw, 0, raw.length)
      throw unavailable(
        name,
        `it refused the login: ${fields.get('M') ?? 'without a reason'} (${fields.get('C') ?? '?????'})`,
      )
    }
    if (type === S.parameterStatus) parameters.set(body.text(), body.text())
    else if (type === S.backendKeyData) key = { process: body.int32(), secret: Buffer.from(body.rest()) }
    else if (type === S.readyForQuery) return { socket, messages, parameters, key }
    else if (type === S.notice || type === S.negotiateVersion) continue
    else if (type !== S.authentication) throw unavailable(name, 'it sent an unexpected message while logging in')
    else {
      const method = body.int32()
      if (method === 0) {
        // INVARIANT: a SCRAM exchange that was begun ends with the target's own proof, or it was somebody else.
        if (!proved) throw unavailable(name, 'it did not prove that it knows the password')
      } else if (method === 3) {
        if (!('encrypted' in socket))
          throw unavailable(name, 'it asks for the password in clear on an unencrypted connection')
        socket.write(frame(C.password, credentials.secret.reveal(), 0))
      } else if (method === 10) {
        const offered: string[] = []
        for (let each = body.text(); each !== ''; each = body.text()) offered.push(each)
        if (!offered.includes(mechanism) || scram !== undefined)
          throw unavailable(name, `it offers ${offered.join(', ')} only`)
        scram = new ScramClient(credentials.secret)
        proved = false
        const first = scram.first()
        socket.write(frame(C.password, mechanism, 0, int32(first.length), first))
      } else if (method === 11 && scram !== undefined) {
        socket.write(frame(C.password, await scram.final(body.rest().toString('latin1'))))
      } else if (method === 12 && scram !== undefined) {
        if (!scram.accepts(body.rest().toString('latin1')))
          throw unavailable(name, 'it does not know the password that it asked for')
        proved = true
      } else {
        const words = method === 5 ? 'MD5 passwords' : `authentication method ${method}`
        throw unavailable(name, `it asks for ${words}; this gateway speaks SCRAM-SHA-256, and passwords over TLS`)
      }
    }
  }
}

export function unavailable(name: string, why: string): SallyportError {
  return new SallyportError('target_unavailable', `${name} cannot be used: ${why}`)
}
