import { type ScpCommand, type ScpFile, ScpTracker } from '../scp.ts'
import type { Channel, Inspector, Side } from './channel.ts'
import { stderr } from './messages.ts'
import type { Relay } from './relay.ts'
import { orClose } from './wrong.ts'

/** The old scp: judged when it started, its files told as they pass. */
export class ScpInspector implements Inspector {
  readonly #relay: Relay
  readonly #channel: Channel
  readonly #tracker: ScpTracker
  readonly #sender: Side

  constructor(relay: Relay, channel: Channel, command: ScpCommand) {
    this.#relay = relay
    this.#channel = channel
    this.#tracker = new ScpTracker(command)
    this.#sender = command.direction === 'upload' ? 'client' : 'target'
  }

  fromClient(bytes: Buffer): void {
    if (!this.#follow('client', bytes)) return
    this.#relay.lanes.client.push(() => this.#channel.toTarget.forward(bytes))
  }

  fromTarget(bytes: Buffer, code: number | null): void {
    const { lanes, output } = this.#relay
    const { id, toClient } = this.#channel
    if (code !== null) output.add(id, code === stderr ? 'err' : `ext${code}`, bytes)
    else if (!this.#follow('target', bytes)) return
    lanes.target.push(() => toClient.forward(bytes, code))
  }

  #follow(side: Side, bytes: Buffer): boolean {
    return orClose(this.#relay, this.#channel, 'ssh.scp', () =>
      this.#record(side === this.#sender ? this.#tracker.fromSender(bytes) : this.#tracker.fromReceiver(bytes)),
    )
  }

  #record(files: readonly ScpFile[]): void {
    for (const file of files) this.#relay.gate.record('file', { channel: this.#channel.id, ...file })
  }

  ended(): void {}

  closed(): void {
    this.#record(this.#tracker.end())
  }
}
