import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { logger } from '../../../log.ts'
import { bring } from './bring.ts'
import { Git, Unreadable } from './git.ts'
import type { MirrorLimits } from './limits.ts'
import { alone } from './lock.ts'
import { describe } from './objects.ts'
import { bytesOf, finish, generations, replace, type Store, type Whose } from './store.ts'

const log = logger('gateway')

export type Refs = ReadonlyMap<string, string>

/** The target's refs as a push saw them, and the way to its objects. */
export interface Seen {
  readonly refs: Refs
  readonly since_ms: number
  readonly object_format: 'sha1' | 'sha256'
  fetch(): Promise<Duplex>
}

/** When mirrors were found whole. */
const wholeAt = new Map<string, number>()
const rest_ms = 60_000
const isId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/

/**
 * What the gateway knows of one repository: all commits and trees that its refs reach, no files.
 * INVARIANT: objects get into it whole, by a rename, and with everything that they reach; then refs (by id, in one file of
 * ours: no name of the target's becomes a path) say so. Who reads needs no lock; who changes has it.
 */
export class Mirror {
  readonly whose: Whose
  readonly #store: Store
  readonly #limits: MirrorLimits
  readonly #folder: string

  constructor(whose: Whose, store: Store, limits: MirrorLimits) {
    this.whose = whose
    this.#store = store
    this.#limits = limits
    this.#folder = store.mirror(whose)
  }

  /** Runs git on the mirror as it is now. */
  get git(): Git {
    return new Git({ repository: this.#current() }, this.#limits)
  }

  /** Refs of the target when somebody looked last; empty where nobody did. */
  get refs(): Map<string, string> {
    return new Map([...this.#noted].map(([ref, { id }]) => [ref, id]))
  }

  get #noted(): Map<string, Noted> {
    return readRefs(join(this.#folder, 'refs.json'))
  }

  /** One at a time on this machine. What somebody began who died in the middle is put in order first. */
  alone<X>(run: () => Promise<X>, signal?: AbortSignal): Promise<X> {
    return alone(join(this.#folder, 'lock'), { ms: this.#limits.sync_ms, signal }, inherited => {
      if (inherited) finish(this.#folder)
      return run()
    })
  }

  /** It is there, empty where nobody pushed here before. */
  async ensure(format: Seen['object_format'], signal?: AbortSignal): Promise<void> {
    if (this.#isThere(format)) return
    await this.alone(async () => {
      if (!this.#isThere(format)) await this.#anew(format)
    }, signal)
  }

  /**
   * Brings what the target's refs reach and is not here. @returns the refs that are gone since somebody looked last, with what
   * they held.
   */
  async update(seen: Seen, signal?: AbortSignal): Promise<Map<string, string>> {
    for (let again = 0; again < 3; again++) {
      const gone = await this.#update(seen, signal)
      if (gone !== undefined) return gone
    }
    throw new Unreadable('it is made anew again and again')
  }

  /** INVARIANT: the lock is not held while a target is waited for. @returns undefined where it was made anew meanwhile. */
  async #update(seen: Seen, signal?: AbortSignal): Promise<Map<string, string> | undefined> {
    await this.ensure(seen.object_format, signal)
    this.#used()
    const missing = (known = this.#known()) => [...new Set(seen.refs.values())].filter(id => !known.has(id))
    const place = this.#current()
    const note = (take: () => void) =>
      this.alone(async () => {
        if (this.#current() !== place) return undefined
        take()
        return this.#note(seen.refs, seen.since_ms)
      }, signal)
    const wants = missing()
    if (wants.some(id => !isId.test(id))) throw new TypeError('the target names no object id')
    if (wants.length === 0) return note(() => {})
    // Who has to ask waits for whoever asks now, and may find then that all of it is here.
    return alone(join(this.#folder, 'fetch'), { ms: this.#limits.sync_ms, signal }, async () => {
      const still = missing()
      return still.length === 0 ? note(() => {}) : this.#bring(seen, still, note, signal)
    })
  }

  /** What a push left on the target: its refs, and the commits and trees that it brought. */
  async add(objects: string, changes: ReadonlyMap<string, string | null>, listed: string | undefined): Promise<void> {
    await this.alone(async () => {
      if (listed !== undefined) await packListed(this.git.with(objects), listed, this.#current(), this.#limits.push_ms)
      const refs = this.refs
      for (const [ref, id] of changes) id === null ? refs.delete(ref) : refs.set(ref, id)
      this.#note(refs)
      await this.#tidy()
    })
  }

  /** Keeps what no ref of the target reaches any more: these, as far as they are here, and no others. */
  async keep(ids: readonly string[]): Promise<void> {
    await this.alone(async () => {
      if (generations(this.#folder).length === 0) return
      const known = await describe(this.git, ids)
      replace(join(this.#folder, 'lost'), [...known.keys()].map(id => `${id}\n`).join(''))
      this.#note(this.refs)
    })
  }

  /** Whether everything is here that its refs reach. It takes long: a bad push makes it happen once a minute at most. */
  async isWhole(): Promise<boolean> {
    const place = this.#current()
    if (performance.now() - (wholeAt.get(place) ?? Number.NEGATIVE_INFINITY) < rest_ms) return true
    const walk = ['rev-list', '--objects', '--filter=blob:none', '--no-object-names', '--count', '--glob=refs/target']
    const ended = await this.git.try(walk, { timeout_ms: this.#limits.sync_ms })
    const whole = ended.status === 0 && ended.cut === undefined
    if (whole) wholeAt.set(place, performance.now())
    else wholeAt.delete(place)
    return whole
  }

  /** Throws away what is here and fetches all of it again. What is being read stays until nobody does. */
  async again(seen: Seen, signal?: AbortSignal): Promise<void> {
    log.warn({ ...this.whose }, 'a git mirror is made anew')
    await this.alone(() => this.#anew(seen.object_format), signal)
    await this.update(seen, signal)
  }

  #used(): void {
    const now = new Date()
    writeFileSync(join(this.#folder, 'used'), '', { mode: 0o600 })
    utimesSync(join(this.#folder, 'used'), now, now)
  }

  #current(): string {
    const last = generations(this.#folder).at(-1)
    return join(this.#folder, String(last ?? 1))
  }

  #isThere(format: Seen['object_format']): boolean {
    const head = join(this.#current(), 'format')
    return existsSync(head) && readFileSync(head, 'latin1') === format
  }

  async #anew(format: Seen['object_format']): Promise<void> {
    const number = (generations(this.#folder).at(-1) ?? 0) + 1
    const aside = this.#store.aside()
    const made = join(aside, 'git')
    const git = new Git({ repository: aside }, this.#limits)
    // GIT_DIR would be the place to make; here it is the folder around it.
    await git.run(['init', '--quiet', '--bare', '--template=', `--object-format=${format}`, made], {
      env: { GIT_DIR: made },
    })
    writeFileSync(join(made, 'format'), format, { mode: 0o600 })
    renameSync(made, join(this.#folder, String(number)))
    rmSync(aside, { recursive: true, force: true })
    rmSync(join(this.#folder, 'lost'), { force: true }) // nothing of it is in the new one
  }

  async #bring<X>(
    seen: Seen,
    wants: readonly string[],
    note: (take: () => void) => Promise<X>,
    signal?: AbortSignal,
  ): Promise<X> {
    const aside = this.#store.aside()
    try {
      const staged = this.git.with(join(aside, 'objects'), signal)
      const limits = this.#limits
      const { filtered } = await bring(staged, seen, wants, {
        limits,
        timeout_ms: limits.sync_ms,
        max_file: limits.mirror_bytes,
        ...(signal && { signal }),
      })
      const whole = filtered ? aside : await this.#withoutFiles(staged, wants)
      const noted = await note(() => this.#move(join(whole, 'objects', 'pack')))
      if (bytesOf(this.#current()) > limits.mirror_bytes)
        log.warn({ ...this.whose, bytes: limits.mirror_bytes }, 'a git mirror is larger than it should be')
      return noted
    } finally {
      rmSync(aside, { recursive: true, force: true })
    }
  }

  /** For servers that filter nothing: commits, trees and tags go on into the mirror, files do not. @returns where they lie. */
  async #withoutFiles(staged: Git, wants: readonly string[]): Promise<string> {
    const into = join(staged.place.objects!, 'without-files')
    mkdirSync(join(into, 'objects', 'pack'), { recursive: true, mode: 0o700 })
    const listed = join(into, 'listed')
    await listNew(staged, wants, listed, this.#limits.sync_ms)
    await packListed(staged, listed, into, this.#limits.sync_ms)
    return into
  }

  /** The index last: git looks for it first. */
  #move(packs: string): void {
    const to = join(this.#current(), 'objects', 'pack')
    const names = readdirSync(packs)
    for (const end of ['.rev', '.pack', '.idx'])
      for (const name of names.filter(each => /^pack-[0-9a-f]+\./.test(each) && each.endsWith(end)))
        renameSync(join(packs, name), join(to, name))
  }

  #known(): Set<string> {
    const file = join(this.#current(), 'packed-refs')
    if (!existsSync(file)) return new Set()
    return new Set([...readFileSync(file, 'latin1').matchAll(/^([0-9a-f]+) refs\/target\//gm)].map(each => each[1]!))
  }

  /**
   * Writes down what the target's refs are. What another push left there since they were told is newer than `refs`, and stays.
   * @returns what is gone.
   */
  #note(refs: Refs, since_ms = Number.POSITIVE_INFINITY): Map<string, string> {
    const [before, now] = [this.#noted, Date.now()]
    const noted = new Map([...before].filter(([, each]) => each.at_ms >= since_ms))
    for (const [ref, id] of refs) {
      const known = before.get(ref)
      if (!noted.has(ref)) noted.set(ref, known?.id === id ? known : { id, at_ms: now })
    }
    const gone = new Map([...before].flatMap(([ref, { id }]) => (noted.has(ref) ? [] : [[ref, id] as const])))
    const here = this.#known() // of a mirror that was made anew not all is
    const ids = new Set([...refs.values(), ...[...noted.values()].map(each => each.id).filter(id => here.has(id))])
    const lost = join(this.#folder, 'lost')
    const kept = existsSync(lost)
      ? readFileSync(lost, 'latin1')
          .split('\n')
          .filter(id => isId.test(id))
      : []
    const lines = [
      ...[...new Set(kept)].sort().map(id => `${id} refs/lost/${id}\n`),
      ...[...ids].sort().map(id => `${id} refs/target/${id}\n`),
    ]
    replace(join(this.#current(), 'packed-refs'), `# pack-refs with: sorted \n${lines.join('')}`)
    replace(join(this.#folder, 'refs.json'), JSON.stringify([...noted].map(([ref, { id, at_ms }]) => [ref, id, at_ms])))
    return gone
  }

  /** Many small packs become few. */
  async #tidy(): Promise<void> {
    const packs = readdirSync(join(this.#current(), 'objects', 'pack')).filter(name => name.endsWith('.pack'))
    if (packs.length <= this.#limits.packs) return
    await this.git.run(['repack', '--geometric=2', '-d', '-q'], { timeout_ms: this.#limits.sync_ms })
  }
}

/**
 * Writes what these reach and the target's refs do not (commits, trees and tags, not files) to a file, as pack-objects reads
 * it. It walks all of it: what is not here fails.
 */
export async function listNew(git: Git, ids: readonly string[], file: string, timeout_ms: number): Promise<void> {
  const walk = ['rev-list', '--objects', '--filter=blob:none', '--stdin', '--not', '--glob=refs/target/*']
  await git.run(walk, { input: `${ids.join('\n')}\n`, timeout_ms, to: file })
}

/** Makes a pack of what was listed, in the objects of a mirror. */
export async function packListed(git: Git, file: string, into: string, timeout_ms: number): Promise<void> {
  const pack = join(into, 'objects', 'pack', 'pack')
  await git.run(['pack-objects', '--quiet', '--non-empty', pack], { from: file, timeout_ms })
}

/** `at_ms`: since when it is known to be so. */
interface Noted {
  readonly id: string
  readonly at_ms: number
}

function readRefs(file: string): Map<string, Noted> {
  try {
    const read = JSON.parse(readFileSync(file, 'utf8')) as [string, string, number?][]
    return new Map(read.map(([ref, id, at_ms = 0]) => [ref, { id, at_ms }]))
  } catch {
    return new Map()
  }
}
