import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { SallyportError } from '../../errors.ts'
import type { Door, Opened, PresentedTicket, Refusal } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { routeCancel } from './cancel.ts'
import { FrameError } from './frames.ts'
import { ConnectionClosed, MessageStream } from './message-stream.ts'
import { BodyError, C, errorResponse, frame, int32, S } from './messages.ts'
import { say } from './say.ts'
import { mechanism, mockVerifier, parseVerifier, ScramError, ScramServer } from './scram.ts'
import { serve } from './serve.ts'
import { loadParser } from './sql/parse.ts'
import { Negotiation, type Startup } from './startup.ts'

const log = logger('postgres')
const loginFrameBytes = 4096
let parser: Promise<void> | undefined

/** Serves one client socket to its end: encryption, startup, SCRAM by ticket, then the relay. Never throws. */
export async function accept(raw: Socket, door: Door): Promise<void> {
  const slow = setTimeout(() => raw.destroy(), door.limits.login_ms)
  const ready = () => clearTimeout(slow)
  try {
    await (parser ??= loadParser())
    const started = await negotiate(raw, door)
    if (started === undefined) return
    await logIn(started.socket, started.startup, started.rest, door, ready)
  } catch (error) {
    if (error instanceof BodyError || error instanceof FrameError || error instanceof ScramError) {
      door.failed('malformed', { why: error.message })
    } else if (!raw.destroyed && !(error instanceof ConnectionClosed)) {
      log.error({ err: error }, 'a connection failed while logging in')
    }
  } finally {
    ready()
    raw.destroy()
  }
}

interface Started {
  readonly socket: Socket
  readonly startup: Startup
  readonly rest: Buffer
}

async function negotiate(raw: Socket, door: Door): Promise<Started | undefined> {
  const negotiation = new Negotiation()
  let socket = raw
  for (;;) {
    const chunk = await nextChunk(socket)
    if (chunk === undefined) return undefined
    const event = negotiation.step(chunk)
    switch (event?.kind) {
      case undefined:
        break
      case 'upgrade':
        raw.write('S')
        socket = new TLSSocket(raw, { isServer: true, secureContext: door.tls() })
        socket.on('error', () => raw.destroy())
        break
      case 'decline':
        raw.write('N')
        break
      case 'cancel':
        routeCancel(door, event.connection, event.key)
        return undefined
      case 'close':
        door.failed('malformed', { why: event.why })
        return undefined
      case 'refuse':
        door.failed('startup', { why: event.message })
        await say(socket, errorResponse('FATAL', event.sqlstate, event.message, '', event.hint))
        return undefined
      case 'startup':
        if (socket === raw && !door.plaintext) {
          door.failed('startup', { why: 'no TLS' })
          await say(
            socket,
            errorResponse('FATAL', '28000', 'this gateway speaks TLS only', '', 'connect with sslmode=verify-full'),
          )
          return undefined
        }
        return { socket, startup: event.startup, rest: event.rest }
    }
  }
}

/** One chunk, and nothing read behind it: what follows may be a TLS handshake. */
function nextChunk(socket: Socket): Promise<Buffer | undefined> {
  return new Promise(resolve => {
    const settle = (chunk?: Buffer) => {
      socket.pause()
      socket.off('data', onData).off('close', onClose).off('end', onClose)
      resolve(chunk)
    }
    const onData = (chunk: Buffer) => settle(chunk)
    const onClose = () => settle()
    if (socket.destroyed) return resolve(undefined)
    socket.on('data', onData).on('close', onClose).on('end', onClose)
    socket.resume()
  })
}

async function logIn(socket: Socket, startup: Startup, rest: Buffer, door: Door, ready: () => void): Promise<void> {
  if (rest.length > 0) return door.failed('malformed', { why: 'bytes behind the startup message' })
  if (startup.negotiate !== undefined) socket.write(startup.negotiate)
  const messages = new MessageStream(socket, loginFrameBytes)
  const ticket = await prove(socket, messages, startup, door)
  if (ticket === undefined) return
  const opened = await door.open(ticket, { application: startup.application, facts: { database: startup.database } })
  if (opened.refused) return await say(socket, refusalMessage(opened))
  try {
    await serve(socket, messages, startup, door, opened, ready)
  } catch (error) {
    await say(socket, faultMessage(error, opened))
    await opened.close(error instanceof SallyportError ? error.message : 'fault')
  }
}

/** SCRAM by the ticket's verifier; an unknown ticket takes the same steps with a verifier that no secret fits. */
async function prove(
  socket: Socket,
  messages: MessageStream,
  startup: Startup,
  door: Door,
): Promise<PresentedTicket | undefined> {
  const ticket = await door.ticket(startup.user)
  const known = parseVerifier(ticket?.verifiers['scram'] ?? '')
  const scram = new ScramServer(known ?? mockVerifier(door.pretence(startup.user)))
  socket.write(frame(S.authentication, int32(10), mechanism, 0, 0))
  const first = await messages.next()
  if (first.type !== C.password) throw new BodyError('another message in the place of the SASL response')
  const chosen = first.body.text()
  const length = first.body.int32()
  if (chosen !== mechanism || length < 0)
    throw new ScramError('another mechanism was chosen than the one that was offered')
  const serverFirst = scram.first(first.body.bytes(length).toString('latin1'))
  first.body.done()
  socket.write(frame(S.authentication, int32(11), serverFirst))
  const final = await messages.next()
  if (final.type !== C.password) throw new BodyError('another message in the place of the SASL response')
  const serverFinal = scram.final(final.body.rest().toString('latin1'))
  if (serverFinal === undefined || ticket === undefined || known === undefined) {
    door.failed('secret', { ticket_id: startup.user.slice(0, 64) })
    const hint = 'run `sallyport connect` for a fresh ticket'
    await say(
      socket,
      errorResponse('FATAL', '28P01', 'the ticket is unknown, has ended, or its secret is wrong', '', hint),
    )
    return undefined
  }
  socket.write(frame(S.authentication, int32(12), serverFinal))
  return ticket
}

function refusalMessage(refusal: Refusal): Buffer {
  const detail = refusal.decision_id === null ? '' : `decision ${refusal.decision_id}`
  const sqlstate = refusal.code === 'policy_denied' ? '42501' : refusal.code === 'ticket_refused' ? '28000' : '57P03'
  return errorResponse('FATAL', sqlstate, refusal.message, detail, refusal.remedy)
}

function faultMessage(error: unknown, opened: Opened): Buffer {
  if (error instanceof SallyportError) {
    const sqlstate = error.code === 'target_unavailable' ? '08001' : '42501'
    return errorResponse('FATAL', sqlstate, error.message, '', error.remedy)
  }
  log.error({ err: error, session_id: opened.session_id }, 'a connection failed')
  return errorResponse(
    'FATAL',
    'XX000',
    'the gateway failed to open the connection',
    '',
    'try again; the log of the gateway has the fault',
  )
}
