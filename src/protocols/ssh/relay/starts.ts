import { posix } from 'node:path'
import type { CommandHandler } from '../../../gateway/protocol.ts'
import type { ActionFacts } from '../../../policy/points.ts'
import { action } from '../actions.ts'
import { parseCommand } from '../command.ts'
import { parseScp } from '../scp.ts'
import type { Channel, Inspector } from './channel.ts'
import { HandledCommand } from './handled.ts'
import type { Relay } from './relay.ts'
import { ScpInspector } from './scp.ts'
import { SftpInspector } from './sftp.ts'

export type Wanted =
  | { readonly kind: 'shell' }
  | { readonly kind: 'exec'; readonly command: string }
  | { readonly kind: 'subsystem'; readonly name: string }

/** What starting something means to policy, and who reads what it carries. */
export interface Start {
  readonly actions: readonly ActionFacts[]
  /** As it stands in the recording. */
  readonly text: string | null
  /** Why it does not start whatever policy says, by which rule of the protocol, and what to do. */
  readonly refused?: string
  readonly rule?: string
  readonly remedy?: string
  /** The command that the target gets in the place of the client's. */
  readonly line?: string
  /** Absent: bytes go on as they are. */
  readonly inspect?: (relay: Relay, channel: Channel) => Inspector
}

export function startOf(channel: Channel, wanted: Wanted): Start {
  switch (wanted.kind) {
    case 'shell':
      return { actions: [action('shell', 'session', { pty: channel.pty, term: channel.term })], text: 'shell' }
    case 'exec':
      return execOf(channel, wanted.command)
    case 'subsystem': {
      const { name } = wanted
      const actions = [action('subsystem', 'session', { name })]
      return { actions, text: `subsystem ${name}`, ...(name === 'sftp' ? { inspect: sftp } : {}) }
    }
  }
}

/** A command of a resource whose protocol rides on this one, as its handler understands it. */
export function commandOf(relay: Relay, channel: Channel, commands: CommandHandler, line: string): Start {
  const taken = commands.take({ line, env: channel.env }, relay.opened)
  const text = line === '' ? 'shell' : line
  if (taken.refused) {
    const { message, rule, remedy } = taken
    return { actions: [], text, refused: message, rule, remedy }
  }
  const { start } = taken
  return {
    actions: taken.actions,
    text: taken.text,
    line: taken.line,
    ...(start !== undefined && { inspect: (its, on) => new HandledCommand(its, on, start) }),
  }
}

const sftp = (relay: Relay, channel: Channel) => new SftpInspector(relay, channel)

/** A terminal would change the bytes on their way: what copies files then is a command like another. */
function execOf(channel: Channel, command: string): Start {
  const { argv, program } = parseCommand(command)
  const copy = argv === null || channel.pty ? null : parseScp(argv)
  if (copy !== null) {
    const { direction, path } = copy
    const verb = direction === 'upload' ? 'write' : 'read'
    const actions = [action('scp', verb, { direction, path })]
    // Where `..` leads is known on the target alone, and a rule on paths would be told another one.
    const refused = path.split('/').includes('..') ? 'a path with `..` in it: write it from / on' : undefined
    return {
      actions,
      text: command,
      ...(refused !== undefined && { refused }),
      inspect: (relay, on) => new ScpInspector(relay, on, copy),
    }
  }
  const facts = { command, argv: argv === null ? null : [...argv], program, pty: channel.pty }
  const files = program !== null && !channel.pty && posix.basename(program) === 'sftp-server'
  return { actions: [action('exec', 'session', facts)], text: command, ...(files ? { inspect: sftp } : {}) }
}
