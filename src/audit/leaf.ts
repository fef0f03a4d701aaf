import { hash, randomBytes } from 'node:crypto'
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

export const saltBytes = 32

/** Salts for n bodies, one behind the other, drawn in one call: the call costs more than its bytes. */
export function newSalts(n: number): Buffer {
  return randomBytes(n * saltBytes)
}

/** What is hashed is put together here: an event a thousand times a second would make garbage of it. */
const scratch = Buffer.allocUnsafeSlow(128 * 1024)

/** Hex SHA-256(salt ‖ canonical body). The salt keeps an erased body from being guessed. */
export function bodyHash(salt: Uint8Array, body: string): string {
  if (salt.length + body.length * 3 > scratch.length)
    return hash('sha256', Buffer.concat([salt, Buffer.from(body, 'utf8')]), 'hex')
  scratch.set(salt, 0)
  const end = salt.length + scratch.write(body, salt.length, 'utf8')
  return hash('sha256', scratch.subarray(0, end), 'hex')
}

/** The canonical JSON of a leaf, its seven members in their order: written out, because every event pays for it twice. */
export function leafText({ at_ms, body_hash, prev, type, v, writer, wseq }: Leaf): string {
  return `{"at_ms":${canonical(at_ms)},"body_hash":${canonical(body_hash)},"prev":${canonical(prev)},"type":${canonical(type)},"v":${v},"writer":${canonical(writer)},"wseq":${canonical(wseq)}}`
}

/** What `leafText` writes, where no string needs an escape: the strings of every leaf of ours need none. */
const plainLeaf =
  /^\{"at_ms":(0|-?[1-9]\d{0,15}),"body_hash":"([0-9a-f]{64})","prev":"([\w.:-]*)","type":"([\w.:-]+)","v":1,"writer":"([\w.:-]+)","wseq":(0|-?[1-9]\d{0,15})\}$/

/** The leaf that a text says, or null where it is not exactly the text that `leafText` writes. */
export function parseLeaf(text: string): Leaf | null {
  const plain = plainLeaf.exec(text)
  if (plain === null) return parseAny(text)
  const [at_ms, wseq] = [Number(plain[1]), Number(plain[6])]
  if (!Number.isSafeInteger(at_ms) || !Number.isSafeInteger(wseq)) return null
  return { v: 1, type: plain[4] as EventType, at_ms, writer: plain[5]!, wseq, prev: plain[3]!, body_hash: plain[2]! }
}

function parseAny(text: string): Leaf | null {
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
  const body: { [key: string]: Json | undefined } = Object.assign({}, event.body)
  add(body, 'id', id, event)
  if (event.subject_id !== undefined) add(body, 'subject_id', event.subject_id, event)
  if (event.session_id !== undefined) add(body, 'session_id', event.session_id, event)
  if (event.resource !== undefined) add(body, 'resource', event.resource, event)
  const text = canonical(body)
  if (text.length * 3 > maxBody && Buffer.byteLength(text) > maxBody)
    throw new SallyportError('internal', `an event of type ${event.type} is larger than ${maxBody} bytes`)
  return text
}

function add(body: { [key: string]: Json | undefined }, key: string, value: string, event: NewEvent): void {
  if (body[key] !== undefined && body[key] !== value)
    throw new SallyportError('internal', `an event of type ${event.type} says two things about its ${key}`)
  body[key] = value
}

export interface SearchColumns {
  readonly subject_id: string | null
  readonly session_id: string | null
  readonly resource: string | null
}

/** The columns for search, as a body says them. */
export function searchColumns(body: string): SearchColumns {
  return columnsOf(JSON.parse(body) as Record<string, unknown>)
}

/** The same of an event whose body `bodyText` has written. */
export function eventColumns({ body, subject_id, session_id, resource }: NewEvent): SearchColumns {
  const said = columnsOf(body)
  return {
    subject_id: subject_id ?? said.subject_id,
    session_id: session_id ?? said.session_id,
    resource: resource ?? said.resource,
  }
}

function columnsOf(said: Readonly<Record<string, unknown>>): SearchColumns {
  const text = (value: unknown) => (typeof value === 'string' ? value : null)
  return {
    subject_id: text(said['subject_id']),
    session_id: text(said['session_id']),
    resource: text(said['resource']),
  }
}
