import type { ActionFacts } from '../../../policy/points.ts'
import { action } from '../actions.ts'
import { parseCommand } from '../command.ts'
import type { Channel, Inspector } from './channel.ts'
import type { Relay } from './relay.ts'

export type Wanted =
  | { readonly kind: 'shell' }
  | { readonly kind: 'exec'; readonly command: string }
  | { readonly kind: 'subsystem'; readonly name: string }

/** What starting something means to policy, and who reads what it carries. */
export interface Start {
  readonly actions: readonly ActionFacts[]
  /** As it stands in the recording. */
  readonly text: string | null
  /** Absent: bytes go on as they are. */
  readonly inspect?: (relay: Relay, channel: Channel) => Inspector
}

export function startOf(channel: Channel, wanted: Wanted): Start {
  switch (wanted.kind) {
    case 'shell':
      return { actions: [action('shell', 'session', { pty: channel.pty, term: channel.term })], text: 'shell' }
    case 'exec': {
      const { command } = wanted
      const { argv, program } = parseCommand(command)
      return {
        actions: [
          action('exec', 'session', { command, argv: argv === null ? null : [...argv], program, pty: channel.pty }),
        ],
        text: command,
      }
    }
    case 'subsystem':
      return { actions: [action('subsystem', 'session', { name: wanted.name })], text: `subsystem ${wanted.name}` }
  }
}
