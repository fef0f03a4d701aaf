import { type CheckpointCopy, standsAt } from '../audit/copy.ts'
import { openCheckpoint, type Trust } from '../audit/note.ts'
import type { Place } from '../audit/places/place.ts'
import { publishedCheckpoint } from '../audit/places/published.ts'
import { keysOf, statements } from '../audit/statements.ts'
import { givenUp, openBreaks } from '../audit/verify-outside.ts'
import type { Database } from '../db/database.ts'
import { faultMessage, logger } from '../log.ts'
import { signaturesBeside } from './witnesses.ts'

const log = logger('evidence')
const patience_ms = 5_000
const fresh_ms = 30_000

/** A checkpoint that was kept where the owner of the database may not reach it. */
export interface Outside {
  readonly from: string
  readonly note: string
  readonly size: number
}

/** The newest checkpoint of the copy that the log of `size` entries must continue. */
export async function copiedCheckpoints(copy: CheckpointCopy, trust: Trust, size: number): Promise<Outside[]> {
  let newest: Outside | undefined
  for await (const line of copy.lines()) {
    const stands = line.kind === 'handover' ? null : standsAt(line, trust)
    if (stands === null || stands.size > size) continue
    // What a signed break gave up is not in this log: only what was copied after it must be its beginning.
    newest =
      line.kind === 'break'
        ? undefined
        : { from: 'the second path of the control host', note: line.note, size: stands.size }
  }
  return newest === undefined || newest.size === 0 ? [] : [newest]
}

export interface OutsideOptions {
  readonly database: Database
  readonly copy: CheckpointCopy
  /** Those that can be read. */
  readonly places: readonly Place[]
  /** A key of the log. */
  readonly vkey: string
}

/**
 * What is kept outside, for bundles: the copy, what the readable places of `audit.places` hold now, and the newest
 * checkpoint that witnesses cosigned. A place that does not answer is left out. Places are read for
 * all bundles of half a minute at once: a repository admits one reader.
 */
export class OutsideCheckpoints {
  readonly #options: OutsideOptions
  #read: { readonly at_ms: number; readonly held: Promise<{ place: string; note: string }[]> } | undefined

  constructor(options: OutsideOptions) {
    this.#options = options
  }

  /** Those that a log of `size` entries must continue. */
  async upTo(size: number): Promise<Outside[]> {
    const { database, copy, vkey } = this.#options
    const { chain } = await keysOf(database.sql, vkey)
    const breaks = openBreaks(await statements(database.sql), chain)
    const found = await copiedCheckpoints(copy, chain, size)
    const fits = (from: string, note: string) => {
      const there = openCheckpoint(note, chain)
      if (there === null)
        log.warn({ from }, 'what is kept outside is not signed by this log, and is left out of a bundle')
      else if (there.size > 0 && there.size <= size && !givenUp(breaks, there.size))
        found.push({ from, note, size: there.size })
    }
    for (const { place, note } of await this.#places()) fits(`outside place ${place}`, note)
    const shown = await publishedCheckpoint(database.sql)
    if (shown !== null && signaturesBeside(shown.note).length > 0) fits('its witnesses', shown.note)
    return found
  }

  #places(): Promise<{ place: string; note: string }[]> {
    const now = performance.now()
    if (this.#read === undefined || now - this.#read.at_ms > fresh_ms)
      this.#read = { at_ms: now, held: (this.#read?.held ?? Promise.resolve([])).then(() => this.#look()) }
    return this.#read.held
  }

  async #look(): Promise<{ place: string; note: string }[]> {
    const held = await Promise.all(
      this.#options.places.map(async ({ name, kind, latest }) => {
        try {
          const there = await inTime(latest?.(AbortSignal.timeout(patience_ms)))
          return there ? [{ place: `${name} (${kind})`, note: there.note }] : []
        } catch (error) {
          log.warn({ place: name, err: faultMessage(error) }, 'an outside place was not read for a bundle')
          return []
        }
      }),
    )
    return held.flat()
  }
}

function inTime<T>(answer: Promise<T> | undefined): Promise<T | undefined> {
  if (answer === undefined) return Promise.resolve(undefined)
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it did not answer in time')), patience_ms)
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
