import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql as fragment } from 'drizzle-orm'
import pg from 'pg'
import { logger } from '../log.ts'
import type { Secret } from '../secret.ts'
import type { Queryable } from './database.ts'

/** Called with a notice's payload, and with null for a poll: at least once a second, at the start, and after each reconnection. */
export type OnNotice = (payload: string | null) => void | Promise<void>

/** The client and the socket below it: `end` of a client whose peer is silent would wait for that peer. */
interface Line {
  readonly client: pg.Client
  readonly socket: Socket
  last: Promise<unknown>
}

/** One query after the other, as the driver wants it. */
function ask(line: Line, text: string): Promise<unknown> {
  const answer = line.last.then(() => line.client.query(text))
  line.last = answer.catch(() => {})
  return answer
}

interface Subscription {
  readonly channel: string
  readonly run: OnNotice
  waiting: string[]
  poll: boolean
  busy: boolean
}

const pollMs = 1_000
const answerMs = 3_000
/** A subscriber that falls behind by more is polled instead: memory stays bounded, and the poll sees everything. */
const maxWaiting = 1_000

/** Sends a notice with the transaction's commit: a listener hears it only if what it tells of is there. */
export async function notify(tx: Queryable, channel: string, payload: string): Promise<void> {
  await tx.execute(fragment`select pg_notify(${channel}, ${payload})`)
}

/**
 * LISTEN on one connection of its own, with a poll behind it: notices make things fast, polls make them certain.
 * The connection proves itself each second; one that is silent for 3 s is replaced.
 */
export class Notices implements AsyncDisposable {
  readonly #url: Secret
  readonly #application: string
  readonly #subscriptions = new Set<Subscription>()
  #line: Line | undefined
  readonly #closing = new AbortController()
  #loop: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #heardWall = Date.now()
  #heardMonotonic = performance.now()

  constructor(options: { readonly url: Secret; readonly application: string }) {
    this.#url = options.url
    this.#application = options.application
  }

  /** Connects (and throws if that fails now; later losses are mended in the background) and starts polling. */
  async start(): Promise<void> {
    await this.#connect()
    this.#loop = this.#keep()
    this.#timer = setInterval(() => this.#pollAll(), pollMs)
  }

  /**
   * Calls of one subscriber never overlap and keep the order of the notices. A call that throws is logged; the next
   * poll is its second chance.
   */
  listen(channel: string, run: OnNotice): Disposable {
    if (!/^[a-z][a-z_]{0,62}$/.test(channel)) throw new TypeError(`no name for a channel: ${channel}`)
    const subscription: Subscription = { channel, run, waiting: [], poll: true, busy: false }
    const first = ![...this.#subscriptions].some(s => s.channel === channel)
    this.#subscriptions.add(subscription)
    // A LISTEN that fails means a broken connection, which the keeper replaces; until then the poll carries.
    if (first && this.#line) ask(this.#line, `listen ${channel}`).catch(() => {})
    void this.#serve(subscription)
    return { [Symbol.dispose]: () => void this.#subscriptions.delete(subscription) }
  }

  notify(tx: Queryable, channel: string, payload: string): Promise<void> {
    return notify(tx, channel, payload)
  }

  /** When the database was heard last (this process's clock, ms). */
  get lastHeardAt(): number {
    return this.#heardWall
  }

  /** For how long the database has been silent. Neither a clock set back nor a suspended machine makes it smaller. */
  get silentMs(): number {
    return Math.max(Date.now() - this.#heardWall, performance.now() - this.#heardMonotonic)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    clearInterval(this.#timer)
    this.#subscriptions.clear()
    this.#drop()
    await this.#loop
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #connect(): Promise<void> {
    const socket = new Socket()
    const client = new pg.Client({
      connectionString: this.#url.reveal(),
      application_name: this.#application,
      connectionTimeoutMillis: answerMs,
      query_timeout: answerMs,
      keepAlive: true,
      stream: () => socket,
    })
    client.on('error', () => {}) // The keeper finds out by itself.
    client.on('notification', notice => this.#hear(notice.channel, notice.payload ?? ''))
    try {
      await client.connect()
      // Whoever subscribes from now on sends its own LISTEN on this line.
      const line: Line = { client, socket, last: Promise.resolve() }
      this.#line = line
      for (const channel of new Set([...this.#subscriptions].map(s => s.channel))) await ask(line, `listen ${channel}`)
    } catch (error) {
      this.#line = undefined
      socket.destroy()
      throw error
    }
    if (this.#closing.signal.aborted) return this.#drop()
    this.#heard()
    this.#pollAll() // What was said while nobody listened.
  }

  async #keep(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        if (this.#line === undefined) await this.#connect()
        else {
          await ask(this.#line, 'select')
          this.#heard()
        }
        await sleep(pollMs, undefined, { ref: false, signal })
      } catch (error) {
        if (signal.aborted) return
        logger('db').warn({ err: error }, 'the connection that listens is lost, trying again')
        this.#drop()
        await sleep(250, undefined, { ref: false, signal }).catch(() => {})
      }
    }
  }

  #drop(): void {
    this.#line?.socket.destroy()
    this.#line = undefined
  }

  #heard(): void {
    this.#heardWall = Date.now()
    this.#heardMonotonic = performance.now()
  }

  #hear(channel: string, payload: string): void {
    this.#heard()
    for (const subscription of this.#subscriptions) {
      if (subscription.channel !== channel) continue
      if (subscription.waiting.length >= maxWaiting) {
        subscription.waiting = []
        subscription.poll = true
      } else subscription.waiting.push(payload)
      void this.#serve(subscription)
    }
  }

  #pollAll(): void {
    for (const subscription of this.#subscriptions) {
      subscription.poll = true
      void this.#serve(subscription)
    }
  }

  async #serve(subscription: Subscription): Promise<void> {
    if (subscription.busy) return
    subscription.busy = true
    try {
      while (this.#subscriptions.has(subscription)) {
        const payload = subscription.waiting.shift()
        if (payload === undefined && !subscription.poll) return
        if (payload === undefined) subscription.poll = false
        try {
          await subscription.run(payload ?? null)
        } catch (error) {
          logger('db').error(
            { err: error, channel: subscription.channel },
            'a subscriber failed; the next poll tries again',
          )
        }
      }
    } finally {
      subscription.busy = false
    }
  }
}
