import type { CommandHandler, Shown, Verdict, Waits } from '../../../gateway/protocol.ts'
import type { ActionFacts } from '../../../policy/points.ts'
import { action } from '../actions.ts'
import { denial, refusedStatus } from '../deny.ts'
import { FieldError, field } from '../wire/fields.ts'
import type { Channel } from './channel.ts'
import { Holding } from './holding.ts'
import { type ChannelRequest, M, plainMessage, readRequest, requestMessage, stderr } from './messages.ts'
import type { Relay } from './relay.ts'
import { commandOf, type Start, startOf } from './starts.ts'

const mostOwed = 256
const mostCommand = 64 * 1024
const mostVariables = 16

/** What a client asks of a session. INVARIANT: what is not known here is refused, and what is known is judged. */
export function clientRequest(relay: Relay, channel: Channel, payload: Buffer): undefined {
  const request = readRequest(payload)
  if (channel.owed.length >= mostOwed) throw new FieldError('more requests than are answered')
  if (channel.type !== 'session') return refuse(relay, channel, request)
  const { commands } = relay.opened
  if (commands !== null) return carriedRequest(relay, channel, payload, request, commands)
  switch (request.type) {
    case 'shell':
      return start(relay, channel, payload, request, startOf(channel, { kind: 'shell' }))
    case 'exec':
      return start(
        relay,
        channel,
        payload,
        request,
        startOf(channel, { kind: 'exec', command: request.fields.text(mostCommand) }),
      )
    case 'subsystem':
      return start(
        relay,
        channel,
        payload,
        request,
        startOf(channel, { kind: 'subsystem', name: request.fields.text(256) }),
      )
    case 'pty-req':
      return pty(relay, channel, payload, request)
    case 'env':
      return env(relay, channel, payload, request)
    case 'window-change': {
      const [columns, rows] = [request.fields.u32(), request.fields.u32()]
      if (channel.pty) relay.gate.record('resize', { channel: channel.id, columns, rows })
      return pass(relay, channel, payload, request)
    }
    case 'signal': {
      const name = request.fields.text(32)
      return judged(relay, channel, payload, request, action('signal', 'session', { name }), `signal ${name}`)
    }
    case 'auth-agent-req@openssh.com':
      return admitted(relay, channel, payload, request, 'auth-agent@openssh.com', {
        asked: action('agent', 'admin', {}),
        words: 'forward the agent',
      })
    case 'x11-req':
      return admitted(relay, channel, payload, request, 'x11', {
        asked: action('x11', 'admin', {}),
        words: 'forward X11',
      })
    default:
      return refuse(relay, channel, request)
  }
}

/** Of a resource whose protocol rides on this one: a command for its handler, and variables that this admits. */
function carriedRequest(
  relay: Relay,
  channel: Channel,
  payload: Buffer,
  request: ChannelRequest,
  commands: CommandHandler,
): undefined {
  switch (request.type) {
    case 'exec': {
      const line = request.fields.text(mostCommand)
      return start(relay, channel, payload, request, commandOf(relay, channel, commands, line))
    }
    case 'shell':
      return start(relay, channel, payload, request, commandOf(relay, channel, commands, ''))
    case 'env': {
      const name = request.fields.text(256)
      const value = request.fields.text(16_384)
      request.fields.end()
      const admitted = channel.state === 'fresh' && channel.env.size < mostVariables && commands.admits(name, value)
      if (!admitted) return answer(relay, channel, request, M.failure) // clients send many that nobody needs
      channel.env.set(name, value)
      return pass(relay, channel, payload, request)
    }
    default:
      return refuse(relay, channel, request)
  }
}

/** What a target says of a session: how it ended. */
export function targetRequest(relay: Relay, channel: Channel, payload: Buffer): undefined {
  const { type, wantReply, fields } = readRequest(payload)
  const { lanes, legs, gate } = relay
  switch (type) {
    case 'exit-status':
    case 'exit-signal':
      if (channel.exited) throw new FieldError('a second end of one program')
      channel.exited = true
      gate.record('exit', {
        channel: channel.id,
        ...(type === 'exit-status' ? { code: fields.u32() } : { signal: fields.text(64) }),
      })
      break
    case 'xon-xoff':
      fields.u8()
      fields.end() // it may have to wait, and is kept whole until then
      break
    case 'eow@openssh.com':
      fields.end()
      break
    default:
      if (wantReply) lanes.target.push(() => legs.target.send(plainMessage(M.failure, channel.numbers.target)))
      return
  }
  lanes.target.push(() =>
    channel.toClient.after(() => {
      if (!channel.closeSent.client) legs.client.send(payload, channel.numbers.client)
    }),
  )
}

/** Shell, command or subsystem: the one thing that a session runs. */
function start(relay: Relay, channel: Channel, payload: Buffer, request: ChannelRequest, wanted: Start): undefined {
  request.fields.end()
  // A terminal would change what a subsystem is told after it was judged.
  const mangled = channel.pty && request.type === 'subsystem'
  if (channel.state !== 'fresh' || mangled) return refuse(relay, channel, request)
  const extra = { channel: channel.id, request: request.type, ...(channel.pty ? { term: channel.term } : {}) }
  const refusal = wanted.refused === undefined ? undefined : refusedStart(relay, wanted.refused, wanted)
  const verdict = refusal ?? relay.judge(wanted.actions, { text: wanted.text, extra }, waitsOf(wanted, channel))
  if ('held' in verdict && verdict.held !== undefined) {
    channel.state = 'held'
    channel.holding = new Holding(relay, channel, verdict.held, settled =>
      answered(relay, channel, payload, request, wanted, relay.settled(settled)),
    )
    return
  }
  answered(relay, channel, payload, request, wanted, verdict)
}

/** It runs, or the person reads why not. */
function answered(
  relay: Relay,
  channel: Channel,
  payload: Buffer,
  request: ChannelRequest,
  wanted: Start,
  verdict: Pick<Verdict, 'allowed' | 'message' | 'detail' | 'remedy'>,
): undefined {
  if (!verdict.allowed) {
    channel.state = 'refused'
    relay.lanes.client.push(() => {
      channel.owed.push(() => {
        if (request.wantReply) relay.legs.client.send(plainMessage(M.success, channel.numbers.client))
        relay.channels.refuse(channel, denial(verdict), refusedStatus)
      })
      channel.settle()
    })
    return
  }
  channel.state = 'running'
  channel.subsystem = request.type === 'subsystem'
  channel.inspector = wanted.inspect?.(relay, channel) ?? null
  const instead = wanted.line === undefined ? payload : requestMessage(0, 'exec', request.wantReply, field(wanted.line))
  pass(relay, channel, instead, request)
}

/** What approvers see, besides the command line, where policy lets that be recorded. */
function waitsOf({ actions }: Start, { variables }: Channel): Waits {
  const names = actions.map(({ kind, facts }) => {
    const of = facts['program'] ?? facts['name'] ?? facts['path']
    return typeof of === 'string' ? `${kind} ${of}` : kind
  })
  return { title: names.join(', '), shown: () => (variables.size === 0 ? [] : [environmentOf([...variables])]) }
}

/** What it will read besides its command line. */
const environmentOf = (names: readonly string[]): Shown => ({
  label: 'Variables that the client set (values are not shown)',
  lines: names,
})

function refusedStart(relay: Relay, message: string, { text, rule = 'ssh.start', remedy = '' }: Start) {
  relay.refuse({ rule, message, text })
  return { allowed: false, message: `refused by the gateway: ${message}`, detail: '', remedy } as const
}

function pty(relay: Relay, channel: Channel, payload: Buffer, request: ChannelRequest): undefined {
  const term = request.fields.text(128)
  const [columns, rows] = [request.fields.u32(), request.fields.u32()]
  if (channel.state !== 'fresh') return refuse(relay, channel, request)
  judged(relay, channel, payload, request, action('pty', 'session', { term }), `terminal ${term}`, () => {
    channel.pty = true
    channel.term = term
    relay.gate.record('resize', { channel: channel.id, columns, rows })
  })
}

/** Names only: values are literals, and may be secrets. */
function env(relay: Relay, channel: Channel, payload: Buffer, request: ChannelRequest): undefined {
  const name = request.fields.text(256)
  request.fields.bytes(16_384)
  if (channel.state !== 'fresh' || !/^[A-Za-z_]\w*$/.test(name)) return refuse(relay, channel, request)
  judged(relay, channel, payload, request, action('env', 'session', { name }), `environment ${name}`, () => {
    if (channel.variables.size < mostVariables) channel.variables.add(name)
    else channel.variables.add('…')
  })
}

/** What the target may then open channels for. A person who asked for it reads why there is none. */
function admitted(
  relay: Relay,
  channel: Channel,
  payload: Buffer,
  request: ChannelRequest,
  type: string,
  wanted: { readonly asked: ActionFacts; readonly words: string },
): undefined {
  const extra = { channel: channel.id, request: request.type }
  const verdict = relay.judge([wanted.asked], { text: wanted.words, extra })
  if (verdict.allowed) {
    relay.forwarding.admit(type, wanted)
    return pass(relay, channel, payload, request)
  }
  relay.lanes.client.push(() => channel.toClient.inject(Buffer.from(denial(verdict)), stderr))
  return answer(relay, channel, request, M.failure)
}

function judged(
  relay: Relay,
  channel: Channel,
  payload: Buffer,
  request: ChannelRequest,
  asked: ActionFacts,
  text: string,
  allowed: () => void = () => {},
): undefined {
  const verdict: Verdict = relay.judge([asked], { text, extra: { channel: channel.id, request: request.type } })
  if (!verdict.allowed) return answer(relay, channel, request, M.failure)
  allowed()
  pass(relay, channel, payload, request)
}

function refuse(relay: Relay, channel: Channel, request: ChannelRequest): undefined {
  const message = `the request ${request.type} is not known here, or comes at the wrong time`
  relay.refuse({ rule: 'ssh.request', message, text: request.type })
  answer(relay, channel, request, M.failure)
}

function pass(relay: Relay, channel: Channel, payload: Buffer, request: ChannelRequest): undefined {
  relay.lanes.client.push(() => {
    if (channel.closeSent.target) return
    if (request.wantReply) channel.owed.push(null)
    relay.legs.target.send(payload, channel.numbers.target)
  })
}

function answer(relay: Relay, channel: Channel, request: ChannelRequest, message: number): undefined {
  relay.lanes.client.push(() => {
    if (!request.wantReply) return
    channel.owed.push(() => {
      if (!channel.closeSent.client) relay.legs.client.send(plainMessage(message, channel.numbers.client))
    })
    channel.settle()
  })
}
