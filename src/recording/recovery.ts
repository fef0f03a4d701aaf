import { logger } from '../log.ts'
import type { Catalog, Head } from './catalog.ts'
import { type Frame, frameKind, payloadOf } from './format/frames.ts'
import { scanJournal } from './format/journal-scan.ts'
import { copyRecords, hashOf, type Layer, segmentTarget } from './format/segment.ts'
import { isOfOtherBoot, journalFiles, putAside, removeSpool } from './spool.ts'
import { clearLate, type Store, segmentName } from './store.ts'

const log = logger('recording')
const heldBytes = 8 * 1024 * 1024

interface Found {
  readonly recording_id: string
  readonly part: number
  readonly layer: Layer
  readonly part_id: Buffer
  head: Head
  seen: number // last seq shipped or held
  held: Frame[]
  bytes: number
  gaps: { from_seq: number; to_seq: number }[]
  end: { ending: 'clean' | 'lost'; reason: string } | undefined
  deleted: boolean
  /** The last seq that its end was noted with, where it has ended. */
  readonly ended_at_seq: number | null
}

export interface Recovered {
  readonly parts: number
  readonly records: number
  /** Files whose end could not be believed, with the place. */
  readonly cuts: readonly string[]
}

/**
 * Ships what a dead process left in its spool, then removes the folder. Nothing is decrypted: sealed records are copied as
 * they are into `records` segments. It can be killed at any point and run again: what was shipped is skipped by its seq.
 * @throws when store or database are away; the folder stays, and the next run goes on.
 */
export async function recoverSpool(
  folder: string,
  deps: { store: Store; catalog: Catalog },
  processId: string,
): Promise<Recovered> {
  const recovery = new Recovery(deps.store, deps.catalog)
  const cuts: string[] = []
  let unknownTail = (await isOfOtherBoot(folder))
    ? 'the machine went down, and what was not on its disk yet is lost'
    : ''
  for (const path of await journalFiles(folder)) {
    for await (const scanned of scanJournal(path)) {
      if ('frame' in scanned) await recovery.take(scanned.frame)
      else {
        cuts.push(`${path} at ${scanned.cut.offset}: ${scanned.cut.reason}`)
        if (!scanned.cut.torn) unknownTail ||= 'a part of its journal cannot be read'
      }
    }
  }
  await recovery.finish({ processId, unknownTail, torn: cuts.length > 0 })
  if (recovery.unknown > 0) {
    // The database does not know these parts (restored from an older backup, say): nothing is thrown away.
    log.error(
      { folder: await putAside(folder), records: recovery.unknown },
      'journal records belong to no known recording; they are kept here',
    )
  } else await removeSpool(folder)
  return { parts: recovery.parts, records: recovery.records, cuts }
}

class Recovery {
  readonly #store: Store
  readonly #catalog: Catalog
  readonly #found = new Map<string, Found | null>()
  #held = 0
  records = 0
  unknown = 0

  constructor(store: Store, catalog: Catalog) {
    this.#store = store
    this.#catalog = catalog
  }

  get parts(): number {
    return [...this.#found.values()].filter(found => found !== null).length
  }

  async take(frame: Frame): Promise<void> {
    const part = await this.#part(frame.part_id)
    if (part === null) {
      if (frame.kind === frameKind.record) this.unknown++
      return
    }
    if (frame.kind === frameKind.end) part.end = endOf(frame)
    if (frame.kind !== frameKind.record) return
    const last = frame.first_seq + frame.count - 1
    if (last <= part.seen) return
    if (frame.first_seq > part.seen + 1) {
      await this.#ship(part)
      part.gaps.push({ from_seq: part.seen + 1, to_seq: frame.first_seq - 1 })
    }
    part.held.push(frame)
    part.seen = last
    part.bytes += frame.bytes.length
    this.#held += frame.bytes.length
    this.records++
    if (part.bytes >= segmentTarget) await this.#ship(part)
    else if (this.#held > heldBytes) await this.#ship(this.#largest())
  }

  /** INVARIANT: what nobody knows is said: where the end of the journal is not what it was, `tail_missing_from` tells so. */
  async finish(given: {
    readonly processId: string
    readonly unknownTail: string
    readonly torn: boolean
  }): Promise<void> {
    const { processId, unknownTail, torn } = given
    for (const id of await this.#catalog.openPartsOf(processId)) await this.#part(Buffer.from(id, 'hex')) // nothing of them is here
    const why = unknownTail || (torn ? 'the journal was cut at its first bad record' : '')
    const reason = `the process that recorded it died${why === '' ? '' : `; ${why}`}`
    for (const part of this.#found.values()) {
      if (part === null) continue
      await this.#ship(part)
      const { recording_id, part: number, gaps, seen } = part
      if (part.deleted || part.ended_at_seq === seen) continue
      const tail_missing_from = part.end === undefined && unknownTail !== '' ? seen + 1 : null
      const end = part.end ?? { ending: 'recovered' as const, reason }
      await this.#catalog.endPart({ recording_id, part: number, last_seq: seen, ...end, gaps, tail_missing_from })
    }
  }

  async #part(id: Buffer): Promise<Found | null> {
    const key = id.toString('hex')
    const known = this.#found.get(key)
    if (known !== undefined) return known
    const row = await this.#catalog.partById(key)
    const head = row === undefined ? undefined : await this.#catalog.head(row)
    const found: Found | null =
      row === undefined || head === undefined
        ? null
        : {
            ...row,
            part_id: Buffer.from(id),
            head,
            seen: head.last_seq,
            held: [],
            bytes: 0,
            end: undefined,
            deleted: false,
          }
    this.#found.set(key, found)
    return found
  }

  async #ship(part: Found): Promise<void> {
    if (part.held.length === 0) return
    const { recording_id, part: number, part_id, layer } = part
    const { n, hash: prev } = part.head
    const first_seq = part.held[0]!.first_seq
    const last_seq = part.seen
    const stored = copyRecords(
      { layer, part_id, n, first_seq, last_seq, prev },
      part.held.map(frame => frame.bytes),
    )
    const hash = hashOf(stored)
    const name = segmentName(recording_id, number, n, hash)
    if (!part.deleted) {
      await this.#store.put(name, stored)
      const row = { recording_id, part: number, n, first_seq, last_seq, bytes: stored.length, hash, prev, key: name }
      if (await this.#catalog.insertSegment(row)) part.head = { n: n + 1, hash, last_seq }
      else {
        part.deleted = true
        await clearLate(this.#store, recording_id)
      }
    }
    this.#held -= part.bytes
    part.held = []
    part.bytes = 0
  }

  #largest(): Found {
    let largest: Found | undefined
    for (const part of this.#found.values()) if (part !== null && part.bytes > (largest?.bytes ?? 0)) largest = part
    return largest!
  }
}

function endOf(frame: Frame): { ending: 'clean' | 'lost'; reason: string } {
  let end: { ending?: unknown; reason?: unknown }
  try {
    end = Object(JSON.parse(payloadOf(frame).toString('utf8')))
  } catch {
    return { ending: 'lost', reason: 'what its end says cannot be read' } // and must not keep the whole spool from recovery
  }
  return { ending: end.ending === 'lost' ? 'lost' : 'clean', reason: typeof end.reason === 'string' ? end.reason : '' }
}
