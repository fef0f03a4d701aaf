import type { Duplex } from 'node:stream'
import type { ActionFacts } from '../policy/points.ts'
import type { Keys, Opened, Verdict } from './protocol.ts'

/**
 * Protocols that ride on another one. The carrier owns the wire, the login and the windows; it offers each command of a
 * client to the handler of the resource's protocol, and names none.
 */
export interface CommandHandler {
  /** Whether a variable that the client sets goes on to the target. What is not admitted is left out without a word. */
  admits(name: string, value: string): boolean
  /** What this command line means. INVARIANT: what is not understood to the last byte is refused. */
  take(request: CommandRequest, opened: Opened): Command | RefusedCommand
  /** Now and then, in one worker after the other: what it keeps has its bounds. `recorded` says which sessions still have a recording. */
  tend?(recorded: (sessions: readonly string[]) => Promise<ReadonlySet<string>>): Promise<void>
}

export interface CommandRequest {
  readonly line: string
  /** The variables that were admitted. */
  readonly env: ReadonlyMap<string, string>
}

/** It does not start, whatever policy says. */
export interface RefusedCommand extends Words {
  readonly refused: true
  /** In the recording: `git.command`, say. */
  readonly rule: string
}

export type Words = Pick<Verdict, 'message' | 'remedy'>

export interface Command {
  readonly refused: false
  /** As it stands in the recording. */
  readonly text: string
  /** Judged before anything starts. */
  readonly actions: readonly ActionFacts[]
  /** What the target runs: written anew from what was understood, never what the client wrote. */
  readonly line: string
  /** It was allowed and is about to start. Absent: its bytes go on as they are, and are recorded as any command's. */
  start?(channel: CommandChannel): CommandReader
}

export type CommandSide = 'client' | 'target'
export type CommandStream = 'out' | 'err'

/**
 * Reads what a command carries. Nothing reaches the other side but what it writes. It never throws for what a peer sent;
 * an exception is a fault, and ends the command.
 */
export interface CommandReader {
  /** Bytes of the client. Until the promise resolves they count as unread, so that no more come than the window allows. */
  fromClient(bytes: Buffer): undefined | Promise<void>
  fromTarget(bytes: Buffer, stream: CommandStream): undefined | Promise<void>
  /** A side will send nothing more. That the target ended goes on to the client behind what is written in this call. */
  ended(side: CommandSide): void
  /** The channel is gone: what was begun is given up. */
  closed(): void
}

/** One command between its client and its target. What is written goes on when all that was judged and recorded before is in the journal. */
export interface CommandChannel {
  readonly id: number
  readonly opened: Opened
  /** A promise where the receiver is slow: write on when it resolves. It rejects when the channel is gone. */
  toTarget(bytes: Buffer): Promise<void> | undefined
  toClient(bytes: Buffer, stream?: CommandStream): Promise<void> | undefined
  /** The target reads the end of its input, behind what was written. */
  endTarget(): void
  /** Ends it here: the client reads this status behind what was written, and both sides are closed. */
  finish(status: number): void
  /**
   * Runs another command on the target over the same login, unseen by the client. Its `end` is the target's exit.
   * @throws SallyportError `target_unavailable` where the target opens no second channel or refuses the command.
   */
  run(line: string, env?: Readonly<Record<string, string>>): Promise<Duplex>
}

/** What a worker gives a riding protocol once. */
export interface HandlerGround {
  /** A folder of this protocol alone (0700), shared by the workers of this machine; it is there. */
  readonly folder: string
  readonly keys: Keys
}
