import { createHash, randomBytes } from 'node:crypto'
import { canonical, type Json } from '../canonical.ts'
import { SallyportError } from '../errors.ts'
import type { EventType, NewEvent } from './events.ts'

/** The leaf, version 1. Everything else about an event lies in its body, which the leaf names by hash and which can be erased. */
export interface Leaf {
  readonly v: 1
  readonly type: EventType
  readonly at_ms: number
  readonly writer: string
  readonly wseq: number
  readonly prev: string
  readonly body_hash: string
}

/** Larger bodies are refused: an event says who, what and why; bulk belongs into a recording. */
const maxBody = 65_536

const saltBytes = 32

/** Salts for n bodies, drawn in one call: the call costs more than its bytes. */
export function newSalts(n: number): Buffer[] {
  const bytes = randomBytes(n * saltBytes)
  return Array.from({ length: n }, (_, i) => bytes.subarray(i * saltBytes, (i + 1) * saltBytes))
}

/** Hex SHA-256(salt ‖ canonical body). The salt keeps an erased body from being guessed. */
export function bodyHash(salt: Uint8Array, body: string): string {
  return createHash('sha256').update(salt).update(body, 'utf8').digest('hex')
}

export function leafText(leaf: Leaf): string {
  return canonical({ ...leaf })
}

/** The leaf that a text says, or null where it is not exactly the text that `leafText` writes. */
export function parseLeaf(text: string): Leaf | null {
  try {
    const leaf = JSON.parse(text) as Partial<Leaf> | null
    if (
      leaf?.v !== 1 ||
      typeof leaf.type !== 'string' ||
      typeof leaf.writer !== 'string' ||
      typeof leaf.prev !== 'string'
    )
      return null
    if (
      !Number.isSafeInteger(leaf.at_ms) ||
      !Number.isSafeInteger(leaf.wseq) ||
      !/^[0-9a-f]{64}$/.test(leaf.body_hash ?? '')
    )
      return null
    return Object.keys(leaf).length === 7 && leafText(leaf as Leaf) === text ? (leaf as Leaf) : null
  } catch {
    return null
  }
}

/** Where a writer's chain stands: number and hex hash of its last leaf. */
export interface ChainEnd {
  readonly wseq: number
  readonly hash: string
}

export const chainStart: ChainEnd = { wseq: 0, hash: '' }

/**
 * The canonical body: the event's own members with its id and what it is about, so that the columns kept for search
 * can be checked against it.
 * @throws SallyportError `internal` for a body that says two things or is too large.
 */
export function bodyText(id: string, event: NewEvent): string {
  const about = { id, subject_id: event.subject_id, session_id: event.session_id, resource: event.resource }
  const body: { [key: string]: Json | undefined } = { ...event.body }
  for (const [key, value] of Object.entries(about)) {
    if (value === undefined) continue
    if (body[key] !== undefined && body[key] !== value) {
      throw new SallyportError('internal', `an event of type ${event.type} says two things about its ${key}`)
    }
    body[key] = value
  }
  const text = canonical(body)
  if (Buffer.byteLength(text) > maxBody)
    throw new SallyportError('internal', `an event of type ${event.type} is larger than ${maxBody} bytes`)
  return text
}

/** The columns for search, as a body says them. */
export function searchColumns(body: string): {
  subject_id: string | null
  session_id: string | null
  resource: string | null
} {
  const parsed = JSON.parse(body) as Record<string, unknown>
  const text = (key: string) => (typeof parsed[key] === 'string' ? (parsed[key] as string) : null)
  return { subject_id: text('subject_id'), session_id: text('session_id'), resource: text('resource') }
}
