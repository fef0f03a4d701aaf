import type { Transport } from '../transport.ts'
import { field } from '../wire/fields.ts'
import type { Channel } from './channel.ts'
import type { Channels } from './channels.ts'
import { M, openMessage, plainMessage, readConfirmation, readRequest, recipientOf, requestMessage } from './messages.ts'

/** KILL follows TERM, a command follows signals that did nothing, then the link is cut: later where that command still runs. */
const wait_ms = { kill: 250, command: 500, signals: 750, all: 2_000 }

/** How a program came to its end that ran when its session had to end. `left`: it may live on on the target. */
export interface ProgramEnd {
  readonly channel: number
  readonly by: 'signal' | 'command' | 'end of input' | 'left'
  /** Why it is left. */
  readonly why?: string
}

/**
 * Where the server carries out no signals (OpenSSH before 9.8 for root, which has no other process that could send them):
 * a command of ours on the same connection. The shell that runs it is a child of the very process that serves this
 * connection, so that the other children of its parent are the programs of this connection and nothing else; each leads a
 * process group, which gets TERM, and KILL when the input ends. INVARIANT: where the parent is not seen to be an sshd,
 * nothing is touched; an orphan's parent is another's.
 */
export const endCommand = `exec /bin/sh -c '${[
  'p=$PPID',
  '[ "$p" -gt 1 ] || exit 3',
  'if [ -r /proc/$$/stat ]; then proc=1; read -r n < /proc/$p/comm; else proc=0; n=$(ps -o comm= -p $p); fi',
  'case $n in *sshd*) ;; *) exit 4 ;; esac',
  'place() { echo "$1 $3 $4"; }',
  'all() { if [ $proc = 0 ]; then ps -A -o pid= -o ppid= -o pgid=; else stats; fi; }',
  `stats() { for f in /proc/[0-9]*/stat; do { read -r l < "$f"; } 2>/dev/null && place "\${l%% *}" \${l##*") "}; done; }`,
  'each() { all | while read -r c q g; do [ "$q" = "$p" ] && [ "$g" = "$c" ] && [ "$c" -ne $$ ] && kill -"$1" -"$c"; done; }',
  'each TERM',
  'read -r l',
  'each KILL',
  'exit 0',
].join('; ')}' 2>/dev/null`

/**
 * What still runs on the target when a session must end: TERM, then KILL, then the link is cut (LC1); at once where nothing
 * is left. @returns how each program ended, when the link is cut.
 */
export function endPrograms(target: Transport, channels: Channels, login: string): Promise<readonly ProgramEnd[]> {
  return new Promise(resolve => new Ending(target, channels, login === 'root', resolve).begin())
}

interface Left {
  readonly channel: Channel
  /** Replies to what the client asked before. */
  owed: number
}

class Ending {
  readonly #target: Transport
  readonly #mayCommand: boolean
  readonly #done: (ended: readonly ProgramEnd[]) => void
  readonly #left = new Map<number, Left>()
  readonly #ended: ProgramEnd[] = []
  readonly #timers: NodeJS.Timeout[] = []
  /** The channel of our command: its number here, and at the target once it is open. */
  readonly #id: number
  #number: number | undefined
  #command: 'none' | 'runs' | 'over' = 'none'
  #why = 'the server carried out no signal in time'
  #killed = false
  #isLate = false

  constructor(
    target: Transport,
    channels: Channels,
    mayCommand: boolean,
    done: (ended: readonly ProgramEnd[]) => void,
  ) {
    this.#target = target
    this.#mayCommand = mayCommand
    this.#done = done
    this.#id = channels.number()
    for (const channel of channels) {
      const { id, type, state, exited, owed } = channel
      if (type === 'session' && state === 'running' && !exited)
        this.#left.set(id, { channel, owed: owed.filter(each => each === null).length })
    }
  }

  begin(): undefined {
    const target = this.#target
    target.unhold()
    if (this.#left.size === 0) return this.#over()
    target.read(payload => this.#read(payload))
    target.onClose(() => this.#over())
    this.#signal('TERM')
    const later = (ms: number, act: () => undefined) => this.#timers.push(setTimeout(act, ms))
    later(wait_ms.kill, () => this.#kill())
    later(wait_ms.command, () => this.#begin())
    later(wait_ms.signals, () => {
      this.#isLate = true
      if (this.#command !== 'runs') this.#over()
    })
    later(wait_ms.all, () => this.#over())
  }

  /** A reply is wanted: a server that carries out no signals says so. Subsystems get none; they end with their input. */
  #signal(name: string): undefined {
    for (const { channel } of this.#left.values()) {
      const { closeSent, eofSeen, numbers, subsystem } = channel
      if (closeSent.target) continue
      if (!subsystem) this.#target.send(requestMessage(numbers.target, 'signal', true, field(name)))
      else if (!eofSeen.client) {
        eofSeen.client = true
        this.#target.send(plainMessage(M.eof, numbers.target))
      }
    }
  }

  #kill(): undefined {
    this.#signal('KILL')
    this.#killed = true
    if (this.#number !== undefined) this.#target.send(plainMessage(M.eof, this.#number))
  }

  /** Opens a channel for our command. */
  #begin(): undefined {
    if (this.#command !== 'none' || !this.#mayCommand) return
    this.#command = 'runs'
    const terms = { sender: this.#id, window: 4096, packet: 4096, rest: Buffer.alloc(0) }
    this.#target.send(openMessage({ type: 'session', ...terms }))
  }

  #commandFailed(why: string): undefined {
    this.#command = 'over'
    this.#why = `${this.#why}, and ${why}`
    if (this.#isLate) this.#over()
  }

  #read(payload: Buffer): undefined {
    try {
      if (payload.length < 5) return
      const recipient = recipientOf(payload)
      if (recipient === this.#id) this.#ofCommand(payload)
      const left = this.#left.get(recipient)
      if (left !== undefined) this.#ofProgram(left, payload)
    } catch {
      this.#over() // a target that makes no sense is asked nothing more
    }
  }

  #ofCommand(payload: Buffer): undefined {
    switch (payload[0]) {
      case M.openConfirmation:
        this.#number = readConfirmation(payload).sender
        this.#target.send(requestMessage(this.#number, 'exec', false, field(endCommand)))
        if (this.#killed) this.#target.send(plainMessage(M.eof, this.#number))
        return
      case M.openFailure:
        return this.#commandFailed('it opens no channel for a command that would have')
      case M.request: {
        const { type, fields } = readRequest(payload)
        const code = type === 'exit-status' ? fields.u32() : undefined
        if (code !== undefined && code !== 0) this.#commandFailed(`a command that would have ended with ${code}`)
        return
      }
      case M.close:
        if (this.#command === 'runs') this.#command = 'over'
        if (this.#isLate) this.#over()
    }
  }

  #ofProgram(left: Left, payload: Buffer): undefined {
    switch (payload[0]) {
      case M.success:
      case M.failure:
        if (left.owed > 0) left.owed--
        else if (payload[0] === M.failure) this.#begin()
        return
      case M.request: {
        const { type } = readRequest(payload)
        if (type === 'exit-status' || type === 'exit-signal') this.#gone(left)
        return
      }
      case M.close:
        this.#gone(left)
    }
  }

  #gone({ channel }: Left): undefined {
    const by = channel.subsystem ? 'end of input' : this.#command === 'none' ? 'signal' : 'command'
    this.#ended.push({ channel: channel.id, by })
    this.#left.delete(channel.id)
    if (this.#left.size === 0) this.#over()
  }

  #over(): undefined {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#target.disconnect('')
    const left = [...this.#left.keys()].map(channel => ({ channel, by: 'left' as const, why: this.#why }))
    this.#left.clear()
    this.#done([...this.#ended, ...left])
  }
}
