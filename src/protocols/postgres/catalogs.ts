import type { Opened } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { dial, type Upstream } from './dial.ts'
import type { Options } from './options.ts'
import { closeUpstream, type Row, runQuery } from './queries.ts'
import { createAnalyzer } from './sql/analyze.ts'
import { createCatalog } from './sql/catalog.ts'
import type { Analyzer, Catalog } from './sql/contract.ts'

const log = logger('postgres')
const refreshMs = 1000
const maxKept = 64

/** A connection that lends its credential to the catalog of its database, and hears when that changed. */
export interface CatalogUser {
  readonly opened: Opened
  /** The catalog is another one now: plans must be fitted again. */
  moved(): void
}

interface Lent {
  readonly of: CatalogUser
  readonly connection: Promise<Upstream>
}

/**
 * The catalog of one target database, shared by all its sessions in this process. It is read on a connection of its own,
 * under the lease of one of the sessions that need it.
 */
export class SharedCatalog {
  readonly catalog: Catalog
  readonly #name: string
  readonly #users = new Set<CatalogUser>()
  readonly #analyzers = new Map<string, Analyzer>()
  #upstream: Lent | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  /** Version of the catalog that the users know of. */
  #told = 0

  constructor(name: string) {
    this.#name = name
    this.catalog = createCatalog(sql => this.#query(sql))
  }

  get idle(): boolean {
    return this.#users.size === 0
  }

  /** Joins and loads what changed. @throws SallyportError when the catalog cannot be read: then nothing can be judged. */
  async join(user: CatalogUser): Promise<Disposable> {
    this.#users.add(user)
    this.#timer ??= setInterval(() => void this.#tick(), refreshMs)
    try {
      await this.catalog.refresh()
    } catch (error) {
      this.#leave(user)
      throw error
    }
    return { [Symbol.dispose]: () => this.#leave(user) }
  }

  /** One analyzer for each search path. */
  analyzer(searchPath: readonly string[]): Analyzer {
    const key = JSON.stringify(searchPath)
    let found = this.#analyzers.get(key)
    if (found === undefined) {
      if (this.#analyzers.size >= maxKept) this.#analyzers.clear()
      found = createAnalyzer({ searchPath, catalog: () => this.catalog.current() })
      this.#analyzers.set(key, found)
    }
    return found
  }

  #leave(user: CatalogUser): void {
    this.#users.delete(user)
    if (this.#upstream?.of === user) this.#drop()
    if (this.#users.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  async #tick(): Promise<void> {
    if (![...this.#users].some(user => user.opened.gate.rules().length > 0)) return
    try {
      await this.catalog.refresh()
    } catch (error) {
      log.warn({ err: error, resource: this.#name }, 'the catalog of a target could not be read; trying again')
      return
    }
    const version = this.catalog.current()?.version ?? 0
    if (version === this.#told) return
    this.#told = version
    for (const user of this.#users) user.moved()
  }

  /** One after the other on one connection; one that failed is replaced at the next query, and at once when its lender left. */
  #query(sql: string): Promise<readonly Row[]> {
    const answer = this.#turn.then(async () => {
      for (;;) {
        const lent = this.#lend()
        try {
          return await runQuery(await lent.connection, sql, this.#name)
        } catch (error) {
          if (this.#upstream === lent) this.#drop()
          if (this.#users.has(lent.of) || this.#users.size === 0) throw error
        }
      }
    })
    this.#turn = answer.catch(() => {})
    return answer
  }

  #lend(): Lent {
    if (this.#upstream !== undefined) return this.#upstream
    const [user] = this.#users
    if (user === undefined) throw new Error('no session lends its credential to the catalog any more')
    const { permit, target, credential } = user.opened
    const settings = { search_path: 'pg_catalog', application_name: 'sallyport catalog', client_encoding: 'UTF8' }
    const lent = { of: user, connection: dial(permit, target, credential, settings) }
    this.#upstream = lent
    return lent
  }

  #drop(): void {
    const dropped = this.#upstream
    this.#upstream = undefined
    dropped?.connection.then(closeUpstream, () => {})
  }
}

const catalogs = new Map<string, SharedCatalog>()

/** The shared catalog of a resource's database. */
export function catalogOf(opened: Opened): SharedCatalog {
  const { name, host, port, options } = opened.resource
  const key = JSON.stringify([name, host, port, (options as Options).database])
  let found = catalogs.get(key)
  if (found === undefined) {
    if (catalogs.size >= maxKept) for (const [old, shared] of catalogs) if (shared.idle) catalogs.delete(old)
    catalogs.set(key, (found = new SharedCatalog(name)))
  }
  return found
}
