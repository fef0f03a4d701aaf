import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Adapter, AdapterPayload } from 'oidc-provider'
import type { DevPerson } from './people.ts'

const maxRows = 5_000
const saveMs = 50

type Jwk = Record<string, unknown>
interface Row {
  readonly payload: AdapterPayload
  readonly expires_at_ms: number
}
interface Saved {
  readonly jwk: Jwk
  readonly cookie_key: string
  readonly rows: readonly (readonly [string, Row])[]
  readonly people: readonly DevPerson[] | undefined
}

/** Keys, grants and refresh tokens of the development provider: in memory, and in one file where a folder is given. */
export class State {
  readonly jwk: Jwk
  readonly cookieKey: string
  readonly savedPeople: readonly DevPerson[] | undefined
  /** Who is there now, for the file. */
  people: () => readonly DevPerson[] = () => []
  readonly #rows: Map<string, Row>
  readonly #file: string | null
  #timer: NodeJS.Timeout | undefined

  constructor(dataDir: string | undefined) {
    this.#file = dataDir === undefined ? null : join(dataDir, 'identity-provider.json')
    const saved = this.#file === null ? null : read(this.#file)
    this.jwk = saved?.jwk ?? newJwk()
    this.cookieKey = saved?.cookie_key ?? randomBytes(32).toString('base64url')
    this.savedPeople = saved?.people
    this.#rows = new Map(saved?.rows ?? [])
  }

  get(key: string): AdapterPayload | undefined {
    const row = this.#rows.get(key)
    return row !== undefined && row.expires_at_ms > Date.now() ? row.payload : undefined
  }

  set(key: string, payload: AdapterPayload, expires_s: number | undefined): void {
    this.#rows.delete(key)
    this.#rows.set(key, { payload, expires_at_ms: expires_s ? Date.now() + expires_s * 1000 : Number.MAX_SAFE_INTEGER })
    while (this.#rows.size > maxRows) this.#rows.delete(this.#rows.keys().next().value!)
    this.changed()
  }

  deleteWhere(fits: (key: string, payload: AdapterPayload) => boolean): void {
    for (const [key, row] of this.#rows) if (fits(key, row.payload)) this.#rows.delete(key)
    this.changed()
  }

  find(prefix: string, fits: (payload: AdapterPayload) => boolean): AdapterPayload | undefined {
    for (const [key, row] of this.#rows) if (key.startsWith(prefix) && fits(row.payload)) return this.get(key)
    return undefined
  }

  changed(): void {
    if (this.#file !== null) this.#timer ??= setTimeout(() => this.save(), saveMs)
  }

  save(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#file === null) return
    const now = Date.now()
    const rows = [...this.#rows].filter(([, row]) => row.expires_at_ms > now)
    const saved: Saved = { jwk: this.jwk, cookie_key: this.cookieKey, rows, people: this.people() }
    mkdirSync(join(this.#file, '..'), { recursive: true, mode: 0o700 })
    writeFileSync(`${this.#file}.new`, JSON.stringify(saved), { mode: 0o600 })
    renameSync(`${this.#file}.new`, this.#file)
  }
}

/** What oidc-provider asks of a store, over one State. */
export function adapterOf(state: State): (model: string) => Adapter {
  return model => {
    const prefix = `${model}:`
    return {
      upsert: async (id, payload, expires_s) => state.set(prefix + id, payload, expires_s),
      find: async id => state.get(prefix + id),
      findByUid: async uid => state.find(prefix, payload => payload.uid === uid),
      findByUserCode: async code => state.find(prefix, payload => payload.userCode === code),
      consume: async id => {
        const payload = state.get(prefix + id)
        if (payload !== undefined) payload.consumed = Math.floor(Date.now() / 1000)
        state.changed()
      },
      destroy: async id => state.deleteWhere(key => key === prefix + id),
      revokeByGrantId: async grant =>
        state.deleteWhere((key, payload) => key.startsWith(prefix) && payload.grantId === grant),
    }
  }
}

function newJwk(): Jwk {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { ...privateKey.export({ format: 'jwk' }), kid: randomBytes(8).toString('hex'), alg: 'RS256', use: 'sig' }
}

function read(file: string): Saved | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Saved
  } catch {
    return null // none yet, or unreadable: a new key means that people sign in again
  }
}
