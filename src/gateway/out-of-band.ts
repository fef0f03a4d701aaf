import { createHash } from 'node:crypto'
import type { Database } from '../db/database.ts'
import type { Notices } from '../db/notices.ts'
import { logger } from '../log.ts'

const log = logger('gateway')
const channel = 'out_of_band'
const counterBits = 16
const tagMask = 0x7fff
const maxPayload = 256

/**
 * Messages that reach a connection from another socket, which may be another worker's or replica's: PostgreSQL's cancel.
 * A connection's number is 15 bits that name the process and 16 bits of a counter; what is not ours goes out as a
 * NOTIFY. Whether a message is genuine is for the protocol to say (it compares the key).
 */
export class OutOfBand implements Disposable {
  readonly #database: Database
  readonly #notices: Pick<Notices, 'listen' | 'notify'>
  readonly #tag: number
  readonly #listening = new Map<number, (payload: Uint8Array) => void>()
  readonly #subscription: Disposable
  #counter = 0

  constructor(database: Database, notices: Pick<Notices, 'listen' | 'notify'>, process_id: string) {
    this.#database = database
    this.#notices = notices
    this.#tag = createHash('sha256').update(process_id).digest().readUInt16BE(0) & tagMask
    this.#subscription = notices.listen(channel, payload => this.#hear(payload))
  }

  nextNumber(): number {
    for (let tries = 0; tries < 1 << counterBits; tries++) {
      this.#counter = (this.#counter + 1) & 0xffff
      const number = this.#tag * (1 << counterBits) + this.#counter
      if (!this.#listening.has(number)) return number
    }
    throw new Error('every connection number of this process is in use')
  }

  on(number: number, run: (payload: Uint8Array) => void): Disposable {
    this.#listening.set(number, run)
    return {
      [Symbol.dispose]: () => {
        if (this.#listening.get(number) === run) this.#listening.delete(number)
      },
    }
  }

  send(number: number, payload: Uint8Array): void {
    if (payload.length > maxPayload) return
    const own = this.#listening.get(number)
    if (own !== undefined) {
      own(payload)
      return
    }
    const text = JSON.stringify({ n: number, b: Buffer.from(payload).toString('base64') })
    this.#notices
      .notify(this.#database.db, channel, text)
      .catch(error => log.warn({ err: error }, 'an out-of-band message could not be passed on'))
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]()
    this.#listening.clear()
  }

  #hear(payload: string | null): void {
    if (payload === null) return
    const { n, b } = JSON.parse(payload) as { n?: unknown; b?: unknown }
    if (typeof n !== 'number' || typeof b !== 'string') return
    this.#listening.get(n)?.(Buffer.from(b, 'base64'))
  }
}
