import type { ActionFacts } from '../../../policy/points.ts'
import { action } from '../actions.ts'
import { FieldError, FieldReader } from '../wire/fields.ts'
import type { Channel, Side } from './channel.ts'
import { M, type Open, readGlobalRequest, stderr } from './messages.ts'
import type { Relay } from './relay.ts'

const mostOwed = 64
const mostListening = 100
const mostUntold = 8

interface Wanted {
  readonly asked: ActionFacts
  readonly words: string
}

/** A reply to a global request that is due: the target's, which goes on to the client unless we asked ourselves, or ours. */
type Owed = { readonly ours: () => void } | { readonly target: 'passes' | 'stays' }

/** What is no session: forwarded ports and sockets, the agent, X11, and the requests that are for the whole connection. */
export class Forwarding {
  readonly #relay: Relay
  /** What the client was allowed to ask for, and the target may open channels for: each of them is decided again. */
  readonly #admitted = new Map<string, Wanted>()
  /** In order. */
  readonly #owed: Owed[] = []
  /** What the target has not answered yet, in order: null where we asked ourselves. */
  readonly #asked: (RemoteForward | null)[] = []
  /** Refused before there was a program whose person could read it. */
  #untold: string[] = []
  #noMoreSessions = false

  constructor(relay: Relay) {
    this.#relay = relay
    relay.legs.target.onAsk(() => this.#await(null))
  }

  /** The agent or X11: asked for by a request of a session. */
  admit(type: string, wanted: Wanted): undefined {
    this.#admitted.set(type, wanted)
  }

  /** A program has somebody who reads what was refused before. */
  tell(channel: Channel): undefined {
    const words = this.#untold.join('')
    this.#untold = []
    if (words !== '') this.#relay.lanes.target.push(() => channel.toClient.inject(Buffer.from(words), stderr))
  }

  /** Why a channel is not opened; undefined when it may be. */
  whyNot(side: Side, open: Open): string | undefined {
    if (side === 'target') {
      const wanted = this.#admitted.get(keyOf(open))
      return wanted === undefined ? this.#refuse(`nobody asked for ${open.type}`) : this.#judge(wanted)
    }
    if (open.type === 'session') return this.#noMoreSessions ? 'no more sessions were to come' : undefined
    if (this.#relay.opened.commands !== null) return this.#refuse('only commands are carried to this resource')
    const wanted = forwardOf(open)
    return wanted === undefined
      ? this.#refuse(`channels of the type ${open.type} are not opened here`)
      : this.#judge(wanted)
  }

  globalRequest(side: Side, payload: Buffer): undefined {
    const { type, wantReply, fields } = readGlobalRequest(payload)
    const { lanes, legs } = this.#relay
    if (side === 'target') {
      // hostkeys-00 (nothing is learned here) and questions whether we live.
      if (wantReply) lanes.target.push(() => legs.target.send(Buffer.of(M.requestFailure)))
      return
    }
    if (wantReply && this.#owed.length >= mostOwed) throw new FieldError('more requests than are answered')
    const answer = (message: number) => this.#reply(wantReply, () => legs.client.send(Buffer.of(message)))
    if (type === 'no-more-sessions@openssh.com') {
      this.#noMoreSessions = true
      return answer(M.requestSuccess)
    }
    const wanted = this.#relay.opened.commands === null ? remoteForwardOf(type, fields) : undefined
    if (wanted === undefined) return answer(M.requestFailure)
    if (wanted.cancels) this.#admitted.delete(wanted.key(wanted.port))
    else {
      const refused =
        this.#admitted.size >= mostListening ? this.#refuse('too much is listened for') : this.#judge(wanted)
      if (refused !== undefined) {
        if (this.#untold.length < mostUntold) this.#untold.push(`sallyport: ${refused}\r\n`)
        return answer(M.requestFailure)
      }
    }
    lanes.client.push(() => {
      if (wantReply) this.#await(wanted)
      else if (!wanted.cancels) this.#admitted.set(wanted.key(wanted.port), wanted)
      legs.target.send(payload)
    })
  }

  #await(wanted: RemoteForward | null): undefined {
    this.#asked.push(wanted)
    this.#owed.push({ target: wanted === null ? 'stays' : 'passes' })
  }

  /** The target says whether it listens, and at which port where it was to choose one. */
  #answered(wanted: RemoteForward, reply: Buffer): undefined {
    if (reply[0] !== M.requestSuccess) return
    const port = wanted.port === 0 && reply.length >= 5 ? reply.readUInt32BE(1) : wanted.port
    if (wanted.cancels) this.#admitted.delete(wanted.key(port))
    else this.#admitted.set(wanted.key(port), wanted)
  }

  globalReply(side: Side, payload: Buffer): undefined {
    if (side === 'client') return // to our own question whether it lives
    const wanted = this.#asked.shift()
    if (wanted === undefined) throw new FieldError('a reply that nobody waits for')
    // At once, not when the reply goes on: a channel that the target opens may be in the very next message.
    if (wanted !== null) this.#answered(wanted, payload)
    this.#relay.lanes.target.push(() => {
      const owed = this.#owed.shift()
      if (owed === undefined || !('target' in owed)) throw new FieldError('a reply that nobody waits for')
      if (owed.target === 'passes') this.#relay.legs.client.send(payload)
      this.#settle()
    })
  }

  #reply(wanted: boolean, ours: () => void): undefined {
    if (!wanted) return
    this.#relay.lanes.client.push(() => {
      this.#owed.push({ ours })
      this.#settle()
    })
  }

  #settle(): undefined {
    for (let next = this.#owed[0]; next !== undefined && 'ours' in next; next = this.#owed[0]) {
      this.#owed.shift()
      next.ours()
    }
  }

  #judge({ asked, words }: Wanted): string | undefined {
    const verdict = this.#relay.judge([asked], { text: words })
    return verdict.allowed ? undefined : `${verdict.message} [${verdict.detail}] ${verdict.remedy}`
  }

  #refuse(message: string): string {
    this.#relay.refuse({ rule: 'ssh.forwarding', message, text: null })
    return message
  }
}

/** RFC 4254 §7.2, OpenSSH PROTOCOL §2.4: from the client to where the target reaches. */
function forwardOf(open: Open): Wanted | undefined {
  const fields = new FieldReader(open.rest)
  if (open.type === 'direct-tcpip') {
    const host = fields.text(256)
    const port = fields.u32()
    return {
      asked: action('forward', 'admin', { kind: 'local', host, port, path: '' }),
      words: `forward to ${host}:${port}`,
    }
  }
  if (open.type === 'direct-streamlocal@openssh.com') {
    const path = fields.text(4096)
    return {
      asked: action('forward', 'admin', { kind: 'streamlocal', host: '', port: 0, path }),
      words: `forward to ${path}`,
    }
  }
  return undefined
}

interface RemoteForward extends Wanted {
  readonly cancels: boolean
  readonly port: number
  /** By what a channel of it is known. */
  readonly key: (port: number) => string
}

/** The target listens for the client. */
function remoteForwardOf(type: string, fields: FieldReader): RemoteForward | undefined {
  const cancels = type.startsWith('cancel-')
  switch (type) {
    case 'tcpip-forward':
    case 'cancel-tcpip-forward': {
      const host = fields.text(256)
      const port = fields.u32()
      const asked = action('forward', 'admin', { kind: 'remote', host, port, path: '' })
      return { asked, words: `listen on ${host}:${port}`, cancels, port, key: tcpKey }
    }
    case 'streamlocal-forward@openssh.com':
    case 'cancel-streamlocal-forward@openssh.com': {
      const path = fields.text(4096)
      const asked = action('forward', 'admin', { kind: 'remote-streamlocal', host: '', port: 0, path })
      return { asked, words: `listen on ${path}`, cancels, port: 0, key: () => localKey(path) }
    }
    default:
      return undefined
  }
}

const tcpKey = (port: number) => `forwarded-tcpip ${port}`
const localKey = (path: string) => `forwarded-streamlocal@openssh.com ${path}`

/** What a channel of the target belongs to. */
function keyOf({ type, rest }: Open): string {
  const fields = new FieldReader(rest)
  if (type === 'forwarded-streamlocal@openssh.com') return localKey(fields.text(4096))
  if (type !== 'forwarded-tcpip') return type
  fields.bytes(256)
  return tcpKey(fields.u32())
}

/** Whereto, for the recording. */
export function placeOf({ type, rest }: Open): Record<string, unknown> {
  const fields = new FieldReader(rest)
  if (type === 'direct-tcpip' || type === 'forwarded-tcpip') return { host: fields.text(256), port: fields.u32() }
  return type.includes('streamlocal') ? { path: fields.text(4096) } : {}
}
