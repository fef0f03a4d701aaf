import type { Verdict } from '../../../gateway/protocol.ts'
import { action } from '../actions.ts'
import { denial } from '../deny.ts'
import type { Operation } from '../sftp/operations.ts'
import { type FileEvent, type Request, SftpTracker } from '../sftp/tracker.ts'
import { FieldError } from '../wire/fields.ts'
import type { Channel, Inspector } from './channel.ts'
import { stderr } from './messages.ts'
import type { Relay } from './relay.ts'
import { orClose } from './wrong.ts'

/** OpenSSH shows nobody the words of an SFTP answer, so they stand on stderr too; not without end, for some never read that. */
const mostTold = 16

/** The files of an SFTP channel: each operation is an action of its own. */
export class SftpInspector implements Inspector {
  readonly #relay: Relay
  readonly #channel: Channel
  readonly #tracker = new SftpTracker()
  /** The target's VERSION, which the client gets when it is known where relative paths begin. */
  #welcome: 'awaited' | readonly Buffer[] | 'given' = 'awaited'
  #told = 0

  constructor(relay: Relay, channel: Channel) {
    this.#relay = relay
    this.#channel = channel
  }

  fromClient(bytes: Buffer): void {
    const { lanes } = this.#relay
    const { toTarget, toClient } = this.#channel
    const onward: Buffer[] = []
    const answers: Buffer[] = []
    const words: string[] = []
    const read = orClose(this.#relay, this.#channel, 'ssh.sftp', () => {
      for (const request of this.#tracker.fromClient(bytes)) {
        if (request.id !== null && this.#welcome !== 'given')
          throw new FieldError('a request before the answer to INIT')
        const refused = this.#refused(request)
        if (refused === undefined) onward.push(...this.#tracker.pass(request))
        else {
          answers.push(this.#tracker.deny(request, inOneLine(refused)))
          if (this.#told++ < mostTold) words.push(denial(refused))
        }
      }
    })
    if (!read) return
    lanes.client.push(() => {
      toTarget.change(bytes.length, onward)
      for (const said of words) toClient.inject(Buffer.from(said), stderr)
      if (answers.length > 0) toClient.inject(Buffer.concat(answers))
    })
  }

  #refused({ operation, refused }: Request): Words | undefined {
    if (refused !== null) {
      this.#relay.refuse({ rule: 'ssh.sftp', message: refused, text: null })
      return { message: `refused by the gateway: ${refused}`, detail: '', remedy: '' }
    }
    if (operation === null) return undefined
    const { verb, path, target_path, flags } = operation
    const facts = {
      operation: operation.operation,
      path,
      target_path,
      direction: operation.direction ?? 'none',
    } as const
    const verdict = this.#relay.judge([action('sftp', verb, { ...facts, flags: [...flags] })], {
      text: textOf(operation),
      extra: { channel: this.#channel.id },
    })
    return verdict.allowed ? undefined : verdict
  }

  fromTarget(bytes: Buffer, code: number | null): void {
    const { lanes, output } = this.#relay
    const { toClient, id } = this.#channel
    if (code !== null) {
      output.add(id, code === stderr ? 'err' : `ext${code}`, bytes)
      lanes.target.push(() => toClient.forward(bytes, code))
      return
    }
    const onward: Buffer[] = []
    const read = orClose(this.#relay, this.#channel, 'ssh.sftp', () => {
      const told = this.#tracker.fromTarget(bytes)
      this.#record(told.files)
      onward.push(...this.#welcomed(told.bytes))
    })
    if (read) lanes.target.push(() => toClient.change(bytes.length, onward))
  }

  #welcomed(bytes: readonly Buffer[]): readonly Buffer[] {
    if (this.#welcome === 'given') return bytes
    if (this.#welcome === 'awaited') {
      if (!this.#tracker.isReady) return bytes
      this.#welcome = bytes
      const question = this.#tracker.askHome()
      this.#relay.lanes.target.push(() => this.#channel.toTarget.inject(question))
      return []
    }
    if (this.#tracker.asksHome) return bytes
    const welcome = this.#welcome
    this.#welcome = 'given'
    return [...welcome, ...bytes]
  }

  #record(files: readonly FileEvent[]): void {
    for (const file of files) this.#relay.gate.record('file', { channel: this.#channel.id, ...file })
  }

  ended(): void {}

  closed(): void {
    this.#record(this.#tracker.end())
  }
}

type Words = Pick<Verdict, 'message' | 'detail' | 'remedy'>

function inOneLine({ message, detail, remedy }: Words): string {
  return `sallyport: ${message}${detail && ` [${detail}]`}${remedy && ` → ${remedy}`}`
}

function textOf({ operation, path, target_path, direction }: Operation): string {
  return `sftp ${direction ?? operation} ${path}${target_path === null ? '' : ` ${target_path}`}`
}
