import pg from 'pg'
import type { Secret } from '../secret.ts'

/**
 * An advisory lock on a connection of its own, so that it is gone when the process is, and known to be gone when the
 * connection is.
 */
export class SessionLock {
  readonly #url: Secret
  readonly #id: readonly [number, number]
  #client: pg.Client | null = null

  constructor(url: Secret, id: readonly [number, number]) {
    this.#url = url
    this.#id = id
  }

  /** Whether the lock is held, as far as this process knows. */
  get held(): boolean {
    return this.#client !== null
  }

  /** Takes the lock if it is free. Without it no connection is kept. */
  async take(): Promise<boolean> {
    if (this.#client) return true
    const client = new pg.Client({
      connectionString: this.#url.reveal(),
      application_name: 'sallyport audit lock',
      connectionTimeoutMillis: 5000,
      query_timeout: 5000,
      keepAlive: true,
    })
    const lost = () => {
      if (this.#client === client) this.#client = null
    }
    client.on('error', lost)
    client.on('end', lost)
    try {
      await client.connect()
      const { rows } = await client.query<{ locked: boolean }>('select pg_try_advisory_lock($1, $2) as locked', [
        ...this.#id,
      ])
      if (rows[0]?.locked === true) {
        this.#client = client
        return true
      }
    } catch (error) {
      await client.end().catch(() => {})
      throw error
    }
    await client.end().catch(() => {})
    return false
  }

  /** Gives the lock away, with its connection. */
  async release(): Promise<void> {
    const client = this.#client
    this.#client = null
    await client?.end().catch(() => {})
  }
}
