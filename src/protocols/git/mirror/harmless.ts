import { appendFileSync, readFileSync, statSync, truncateSync } from 'node:fs'
import { logger } from '../../../log.ts'

const log = logger('gateway')

/** Lines of a name and an id. Nobody fills the disk with them: beyond, all are forgotten, and asked for again. */
const mostBytes = 4 << 20
const isLine = /^git(?:modules|attributes) [0-9a-f]{40,64}$/

/**
 * What git found to harm nobody under the name of one of its own files (`gitmodules ID`), known to all workers of this machine and
 * after a restart: no target is asked for it again, and one that gives nothing need not be.
 */
export class Harmless {
  readonly #file: string
  #known: ReadonlySet<string> = new Set()
  #bytes = 0

  constructor(file: string) {
    this.#file = file
  }

  /** Those that nobody has looked at. */
  unknown(names: Iterable<string>): ReadonlySet<string> {
    const unknown = [...names].filter(name => !this.#known.has(name))
    if (unknown.length > 0) this.#read()
    return new Set(unknown.filter(name => !this.#known.has(name)))
  }

  add(names: Iterable<string>): void {
    const fresh = this.unknown(names)
    if (fresh.size === 0) return
    try {
      if (this.#bytes > mostBytes) truncateSync(this.#file)
      // In one piece: others append to it too.
      appendFileSync(this.#file, [...fresh].map(name => `${name}\n`).join(''), { mode: 0o600 })
    } catch (error) {
      log.warn({ err: error as Error }, 'what was looked at in a push cannot be written down; it is looked at again')
    }
  }

  #read(): void {
    const { size } = statSync(this.#file, { throwIfNoEntry: false }) ?? { size: 0 }
    if (size === this.#bytes) return
    const text = size === 0 ? '' : readFileSync(this.#file, 'latin1')
    this.#bytes = size
    this.#known = new Set(text.split('\n').filter(line => isLine.test(line)))
  }
}
