import type { Transport } from '../transport.ts'
import { Flow } from './flow.ts'
import type { Holding } from './holding.ts'
import type { Open } from './messages.ts'

export type Side = 'client' | 'target'

export function other(side: Side): Side {
  return side === 'client' ? 'target' : 'client'
}

/** Reads what a channel carries in the place of the plain relay: it may judge, hold back, change and answer. */
export interface Inspector {
  /** Bytes of the client. What becomes of them is told to `channel.toTarget`, so that windows stay right. */
  fromClient(bytes: Buffer): void
  /** Bytes of the target; `code` is 1 for stderr. */
  fromTarget(bytes: Buffer, code: number | null): void
  /** One side will send nothing more. */
  ended(side: Side): void
  /** It tells the target itself that the client ended. */
  readonly endsTarget?: true
  /** The channel is gone. */
  closed(): void
}

/** What a channel runs: nothing yet, what waits for approvers, something, or nothing more because it was refused. */
export type ChannelState = 'fresh' | 'held' | 'running' | 'refused'

/** A channel between both legs, under the one number that we gave it on both. */
export class Channel {
  readonly id: number
  readonly type: string
  readonly opener: Side
  readonly toTarget: Flow
  readonly toClient: Flow
  /** The numbers that the sides gave. */
  readonly numbers: Record<Side, number> = { client: 0, target: 0 }
  state: ChannelState = 'fresh'
  confirmed = false
  /** Its opener was told that it is open. */
  told = false
  /** Its target told how what it runs ended. */
  exited = false
  inspector: Inspector | null = null
  /** What it is to run waits for approvers. */
  holding: Holding | null = null
  /** Replies that the client waits for, in order: the target's (null) or ours. */
  readonly owed: (null | (() => void))[] = []
  readonly closeSent: Record<Side, boolean> = { client: false, target: false }
  readonly closeSeen: Record<Side, boolean> = { client: false, target: false }
  readonly eofSeen: Record<Side, boolean> = { client: false, target: false }
  /** What each side sent. */
  readonly bytes: Record<Side, number> = { client: 0, target: 0 }
  pty = false
  term = ''
  /** Names of variables that the target was given. */
  readonly variables = new Set<string>()
  /** Variables that went on. */
  readonly env = new Map<string, string>()
  /** What it runs is a subsystem. */
  subsystem = false

  constructor(id: number, open: Open, opener: Side, client: Transport, target: Transport) {
    this.id = id
    this.type = open.type
    this.opener = opener
    this.toTarget = new Flow(client, target)
    this.toClient = new Flow(target, client)
    this.numbers[opener] = open.sender
  }

  /** Both numbers are known. */
  confirm(): void {
    const { client, target } = this.numbers
    this.toTarget.ids(client, target)
    this.toClient.ids(target, client)
    this.confirmed = true
  }

  flowFrom(side: Side): Flow {
    return side === 'client' ? this.toTarget : this.toClient
  }

  /** A side was told that it is closed: it gets no data any more, and no larger window. */
  closed(to: Side): void {
    this.closeSent[to] = true
    this.flowFrom(other(to)).receiverIsClosed()
    this.flowFrom(to).senderIsClosed()
  }

  get isGone(): boolean {
    const { closeSent, closeSeen } = this
    return closeSent.client && closeSent.target && closeSeen.client && closeSeen.target
  }

  /** Answers that are due and ours. */
  settle(): void {
    for (let next = this.owed[0]; typeof next === 'function'; next = this.owed[0]) {
      this.owed.shift()
      next()
    }
  }
}
