import type { ActionFacts } from '../../../policy/points.ts'
import { action } from '../actions.ts'
import { FieldReader } from '../wire/fields.ts'
import type { Side } from './channel.ts'
import { M, type Open, readGlobalRequest } from './messages.ts'
import type { Relay } from './relay.ts'

const mostOwed = 64

/** What is no session: forwarded ports and sockets, the agent, X11, and the requests that are for the whole connection. */
export class Forwarding {
  readonly #relay: Relay
  /** Channels of the target that the client was allowed to ask for. */
  readonly #admitted = new Set<string>()
  /** Replies to global requests, in order: the target's to the client or to our keepalive, and ours to the client. */
  readonly #owed: ('client' | 'keepalive' | (() => void))[] = []
  #noMoreSessions = false

  constructor(relay: Relay) {
    this.#relay = relay
    relay.legs.target.onAsk(() => this.#owed.push('keepalive'))
  }

  /** The client may ask for what the target then opens: X11, the agent, connections to a forwarded port. */
  admit(type: string): undefined {
    this.#admitted.add(type)
  }

  /** Why a channel is not opened; undefined when it may be. */
  whyNot(side: Side, open: Open): string | undefined {
    if (side === 'target') return this.#admitted.has(open.type) ? undefined : 'nobody asked for this'
    if (open.type === 'session') return this.#noMoreSessions ? 'no more sessions were to come' : undefined
    const wanted = forwardOf(open)
    if (wanted === undefined) return `channels of the type ${open.type} are not opened here`
    return this.#judge(wanted.asked, wanted.words)
  }

  globalRequest(side: Side, payload: Buffer): undefined {
    const { type, wantReply, fields } = readGlobalRequest(payload)
    const { lanes, legs } = this.#relay
    if (side === 'target') {
      // hostkeys-00 (nothing is learned here) and questions whether we live.
      if (wantReply) lanes.target.push(() => legs.target.send(Buffer.of(M.requestFailure)))
      return
    }
    const answer = (message: number) => this.#reply(wantReply, () => legs.client.send(Buffer.of(message)))
    if (type === 'no-more-sessions@openssh.com') {
      this.#noMoreSessions = true
      return answer(M.requestSuccess)
    }
    const wanted = remoteForwardOf(type, fields)
    if (wanted === undefined) return answer(M.requestFailure)
    const cancels = type.startsWith('cancel-')
    if (!cancels && this.#judge(wanted.asked, wanted.words) !== undefined) return answer(M.requestFailure)
    if (!cancels) this.admit(wanted.channel)
    if (wantReply && this.#owed.length >= mostOwed) return answer(M.requestFailure)
    lanes.client.push(() => {
      if (wantReply) this.#owed.push('client')
      legs.target.send(payload)
    })
  }

  globalReply(side: Side, payload: Buffer): undefined {
    if (side === 'client') return // to our own question whether it lives
    this.#relay.lanes.target.push(() => {
      if (this.#owed.shift() === 'client') this.#relay.legs.client.send(payload)
      this.#settle()
    })
  }

  #reply(wanted: boolean, answer: () => void): undefined {
    if (!wanted) return
    this.#relay.lanes.client.push(() => {
      this.#owed.push(answer)
      this.#settle()
    })
  }

  #settle(): undefined {
    for (let next = this.#owed[0]; typeof next === 'function'; next = this.#owed[0]) {
      this.#owed.shift()
      next()
    }
  }

  #judge(asked: ActionFacts, words: string): string | undefined {
    const verdict = this.#relay.gate.judge([asked], { text: words })
    return verdict.allowed ? undefined : `${verdict.message} [${verdict.detail}] ${verdict.remedy}`
  }
}

interface Wanted {
  readonly asked: ActionFacts
  readonly words: string
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

/** The target listens for the client. */
function remoteForwardOf(type: string, fields: FieldReader): (Wanted & { readonly channel: string }) | undefined {
  if (type === 'tcpip-forward' || type === 'cancel-tcpip-forward') {
    const host = fields.text(256)
    const port = fields.u32()
    const asked = action('forward', 'admin', { kind: 'remote', host, port, path: '' })
    return { asked, words: `listen on ${host}:${port}`, channel: 'forwarded-tcpip' }
  }
  if (type === 'streamlocal-forward@openssh.com' || type === 'cancel-streamlocal-forward@openssh.com') {
    const path = fields.text(4096)
    const asked = action('forward', 'admin', { kind: 'remote-streamlocal', host: '', port: 0, path })
    return { asked, words: `listen on ${path}`, channel: 'forwarded-streamlocal@openssh.com' }
  }
  return undefined
}
