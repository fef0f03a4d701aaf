import type { Gate } from '../../../gateway/protocol.ts'
import type { Channel } from './channel.ts'
import { Echo, type Span } from './echo.ts'

interface Typing {
  at: number
  /** Of a terminal: nothing else shows what it is given. */
  readonly echo: Echo | null
}

/**
 * What a client puts into a program, for the layer of originals alone: one event for what a turn brought, and a mark for
 * what a terminal did not show.
 */
export class Input {
  readonly #gate: Gate
  readonly #channels = new Map<number, Typing>()
  #gathered: { readonly channel: number; readonly at: number; readonly chunks: Buffer[] }[] = []

  constructor(gate: Gate) {
    this.#gate = gate
  }

  get #wanted(): boolean {
    return this.#gate.settings.originals === 'sealed'
  }

  add(channel: Channel, bytes: Buffer): void {
    if (!this.#wanted || bytes.length === 0) return
    const typing = this.#of(channel)
    const last = this.#gathered.at(-1)
    if (last?.channel === channel.id) last.chunks.push(bytes)
    else this.#gathered.push({ channel: channel.id, at: typing.at, chunks: [bytes] })
    typing.at += bytes.length
    if (typing.echo !== null) this.#mark(channel.id, typing.echo.typed(bytes))
  }

  #of({ id, pty }: Channel): Typing {
    let typing = this.#channels.get(id)
    if (typing === undefined) this.#channels.set(id, (typing = { at: 0, echo: pty ? new Echo() : null }))
    return typing
  }

  /** The target showed this on a terminal. */
  shown(channel: number, bytes: Buffer): void {
    const echo = this.#channels.get(channel)?.echo
    if (echo) this.#mark(channel, echo.shown(bytes))
  }

  #mark(channel: number, hidden: readonly Span[]): void {
    if (hidden.length > 0) this.record() // a mark stands behind what it marks
    for (const { from, to } of hidden) this.#gate.recordOriginal('unechoed', { channel, from, to })
  }

  /** Into the journal, before it goes on. @returns how many bytes. */
  record(): number {
    let bytes = 0
    for (const { channel, at, chunks } of this.#gathered) {
      const data = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
      bytes += data.length
      this.#gate.recordOriginal('input', { channel, at, data })
    }
    this.#gathered = []
    return bytes
  }

  forget(channel: number): void {
    const echo = this.#channels.get(channel)?.echo
    this.record()
    if (echo) this.#mark(channel, echo.end())
    this.#channels.delete(channel)
  }
}
