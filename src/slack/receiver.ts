import type { AckFn, App, Receiver } from '@slack/bolt'

/** What goes back on the request that brought an event. */
export interface Answer {
  readonly status: number
  /** JSON, or nothing. */
  readonly body: unknown
}

const ackWithin_ms = 2_800 // Slack gives up after three seconds

/** Hands verified bodies to bolt, and bolt's acknowledgement back. The HTTP side is `door.ts`. */
export class DirectReceiver implements Receiver {
  #app: App | null = null

  init(app: App): void {
    this.#app = app
  }

  start(): Promise<void> {
    return Promise.resolve()
  }

  stop(): Promise<void> {
    return Promise.resolve()
  }

  /** @returns 200 with what a listener acknowledged, 404 where none wanted it, 500 or 504 where one failed or hung. */
  async deliver(body: Record<string, unknown>): Promise<Answer> {
    const app = this.#app
    if (app === null) return { status: 503, body: null }
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise<Answer>(resolve => {
        timer = setTimeout(() => resolve({ status: 504, body: null }), ackWithin_ms)
        const ack: AckFn<unknown> = response => {
          resolve({ status: 200, body: response ?? null })
          return Promise.resolve()
        }
        app.processEvent({ body, ack }).then(
          () => resolve({ status: 404, body: null }), // nothing, when it was acknowledged before
          () => resolve({ status: 500, body: null }),
        )
      })
    } finally {
      clearTimeout(timer)
    }
  }
}
