import { canonical, type Json } from '../canonical.ts'
import type { Database } from '../db/database.ts'
import { bundleDigest, unpackBundle } from './bundle.ts'
import type { PolicyData } from './data-schema.ts'
import { type Answer, denied, judge } from './judge.ts'
import type { Input, Point } from './points.ts'
import { readQuestion } from './question.ts'
import type { Sources } from './repository/sources.ts'
import { revisionSources } from './revision-sources.ts'
import { getRevision } from './revision-store.ts'
import { Evaluator } from './wasm.ts'

/** Answers a question nobody asked: there is no Permit, and no Decision. */
export type Weigh = <P extends Point>(point: P, input: Input<P>) => Answer<P>

/** A revision that is not in force (any more), to weigh questions under it. */
export interface PastRevision {
  readonly weigh: Weigh
  readonly data: PolicyData
  /** Null where it was activated before sources were kept. */
  readonly sources: Sources | null
}

/** An evaluator takes some MiB: a person who explains decisions looks at one revision, or goes to and fro between two. */
const kept = 2

/** Revisions by their generation. How old groups may be is a setting that is not kept with a decision: it is not judged here. */
export class PastRevisions {
  readonly #database: Database
  readonly #known = new Map<number, Promise<PastRevision | undefined>>()

  constructor(database: Database) {
    this.#database = database
  }

  /** @throws Error for a bundle that does not have the digest of its revision. */
  get(generation: number): Promise<PastRevision | undefined> {
    const found = this.#known.get(generation) ?? this.#load(generation)
    this.#known.delete(generation)
    this.#known.set(generation, found)
    found.catch(() => this.#known.delete(generation))
    for (const old of this.#known.keys()) {
      if (this.#known.size <= kept) break
      this.#known.delete(old)
    }
    return found
  }

  async #load(generation: number): Promise<PastRevision | undefined> {
    const row = await getRevision(this.#database.db, generation)
    if (row === undefined) return undefined
    const bundle = unpackBundle(row.bundle)
    if (bundleDigest(bundle) !== row.digest)
      throw new Error(`the bundle of revision ${generation} does not have the digest it was signed with`)
    const ground = {
      evaluator: new Evaluator(Buffer.from(bundle.wasm, 'base64'), canonical(bundle.data as Json)),
      meta: bundle.meta,
      commit: row.commit,
      max_groups_age_s: Number.POSITIVE_INFINITY,
    }
    const weigh: Weigh = (point, input) => {
      const read = readQuestion(point, input)
      const text = 'key' in read ? read.text() : read
      return typeof text === 'string' ? judge(point, input, text, ground) : denied(text.code, text.message)
    }
    const sources = (await revisionSources(this.#database.db, generation))?.sources ?? null
    return { weigh, data: bundle.data, sources }
  }
}
