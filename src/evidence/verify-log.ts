import { bodyHash, parseLeaf } from '../audit/leaf.ts'
import { leafHash, verifyConsistency, verifyInclusion } from '../audit/merkle.ts'
import { type Checkpoint, openCheckpoint, type Trust } from '../audit/note.ts'
import type { Findings } from './findings.ts'
import type { EventLine, OutsideLine } from './format.ts'
import type { WitnessCheck } from './witnesses.ts'

/** What an event says, as far as it was not erased. */
export interface ProvedEvent {
  readonly id: string
  readonly type: string
  readonly at_ms: number
  readonly body: Readonly<Record<string, unknown>> | null
}

/** The events of a bundle under one checkpoint. */
export class LogCheck {
  readonly verifier: Trust
  readonly checkpoint: Checkpoint
  readonly #found: Findings
  readonly #witnesses: WitnessCheck
  readonly #events = new Map<string, ProvedEvent>()
  readonly #bySession = new Map<string, ProvedEvent[]>()
  readonly #byMember = new Map<string, ProvedEvent[]>()
  #last = -1
  erased = 0
  /** Checkpoints kept outside that fit: where, and how many entries. */
  readonly outside: string[] = []
  /** Whether the events were given to whoever exported the bundle. */
  given = true

  constructor(verifier: Trust, checkpoint: Checkpoint, found: Findings, witnesses: WitnessCheck) {
    this.#witnesses = witnesses
    this.verifier = verifier
    this.checkpoint = checkpoint
    this.#found = found
  }

  get count(): number {
    return this.#events.size
  }

  /** Whether the bundle holds what the log says about its rows: then what has no event was never so. */
  get whole(): boolean {
    return this.given && this.erased === 0
  }

  /** One line of `log/events-*.jsonl`. Entries stand in the order of the log, each once. */
  take(line: EventLine, where: string): void {
    const event = readEvent(line, this.checkpoint, `${where}: event ${line.id}`, this.#found)
    if (event === undefined) return
    if (line.index <= this.#last) this.#found.flaw(`${where}: event ${line.id} is out of order, or there twice`)
    this.#last = line.index
    this.#events.set(event.id, event)
    if (event.body === null) this.erased++
    const { session_id, vote_id, request_id, grant_id, hold } = event.body ?? {}
    if (typeof session_id === 'string') push(this.#bySession, session_id, event)
    for (const member of [vote_id, request_id, grant_id, hold])
      if (typeof member === 'string') push(this.#byMember, member, event)
  }

  takeOutside(line: OutsideLine, where: string): void {
    const outside = openCheckpoint(line.checkpoint, this.verifier)
    if (outside === null)
      return void this.#found.flaw(`${where}: a checkpoint kept outside is not signed by ${this.verifier.name}`)
    const path = line.consistency.map(hash => Buffer.from(hash, 'hex'))
    const { size, root } = this.checkpoint
    const wrong = this.#witnesses.take(line.checkpoint, outside.size)
    if (wrong !== undefined) this.#found.flaw(`${where}: ${wrong}`)
    if (verifyConsistency(outside.size, outside.root, size, root, path))
      this.outside.push(`${line.from}: ${outside.size}`)
    else
      this.#found.flaw(
        `${where}: the log of ${size} entries is NOT a continuation of that of ${outside.size}, which was kept outside: it was rewritten`,
      )
  }

  get(id: string): ProvedEvent | undefined {
    return this.#events.get(id)
  }

  /** Events about a session, or those that name this vote, request, grant or hold. */
  about(id: string, ...types: readonly string[]): ProvedEvent[] {
    const all = id.startsWith('ses_') ? this.#bySession.get(id) : this.#byMember.get(id)
    return (all ?? []).filter(event => types.includes(event.type))
  }

  activated(generation: number): ProvedEvent | undefined {
    for (const event of this.#events.values())
      if (event.type === 'revision.activated' && event.body?.['generation'] === generation) return event
    return undefined
  }
}

/** An event that stands in the log which the checkpoint signs; undefined, with a flaw, for one that does not. */
export function readEvent(
  line: EventLine,
  checkpoint: Checkpoint,
  name: string,
  found: Findings,
): ProvedEvent | undefined {
  const { id, index, leaf, body, salt, inclusion } = line
  const parsed = parseLeaf(leaf)
  if (parsed === null) return void found.flaw(`${name} has no canonical leaf`)
  const path = inclusion.map(hash => Buffer.from(hash, 'hex'))
  const canonicalPath = inclusion.every(hash => /^[0-9a-f]{64}$/.test(hash))
  if (!canonicalPath || !verifyInclusion(leafHash(leaf), index, checkpoint.size, path, checkpoint.root))
    return void found.flaw(
      `${name} is NOT entry ${index} of the log that the checkpoint signs: leaf, place or path was changed`,
    )
  if (body === null && salt === null) return { id, type: parsed.type, at_ms: parsed.at_ms, body: null }
  if (
    body === null ||
    salt === null ||
    !/^[0-9a-f]*$/.test(salt) ||
    bodyHash(Buffer.from(salt, 'hex'), body) !== parsed.body_hash
  )
    return void found.flaw(`${name} does NOT say what its leaf names: its body was changed`)
  const said = JSON.parse(body) as Record<string, unknown>
  if (said['id'] !== id) return void found.flaw(`${name} is another event`)
  return { id, type: parsed.type, at_ms: parsed.at_ms, body: said }
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}
