import type { KeyObject } from 'node:crypto'
import { type Checkpoint, type KeyChain, openNote, parseVkey, signNote, type Verifier, vkey } from './note.ts'

const title = 'sallyport log handover' // holds spaces, so that no checkpoint's origin can read the same

/**
 * A handover of the checkpoint key: a signed note with the signatures of both keys. The old one says who follows it, the
 * new one that it takes over, and both where the log stood: the old key signs no larger log.
 */
export interface Handover {
  readonly origin: string
  readonly from: Verifier
  readonly to: Verifier
  readonly at: Checkpoint
  readonly at_ms: number
}

/** A point of the log in one line: `<size> <base64 root>`. */
export const pointText = ({ size, root }: Checkpoint): string => `${size} ${root.toString('base64')}`

export function parsePoint(origin: string, text: string | undefined): Checkpoint | null {
  const match = /^(\d{1,16}) ([A-Za-z0-9+/]{43}=)$/.exec(text ?? '')
  return match ? { origin, size: Number(match[1]), root: Buffer.from(match[2]!, 'base64') } : null
}

export function signHandover(at: Checkpoint, at_ms: number, from: KeyObject, to: KeyObject): string {
  const { origin } = at
  const text = `${title}\n${origin}\n${vkey(origin, from)}\n${vkey(origin, to)}\n${pointText(at)}\n${at_ms}\n`
  const second = signNote(text, origin, to)
  return signNote(text, origin, from) + second.slice(second.lastIndexOf('\n\n') + 2)
}

/** The handover of a note that carries good signatures of both its keys, or null. */
export function openHandover(note: string): Handover | null {
  const [first, origin, from, to, point, at_ms] = note.split('\n', 6)
  const at = origin === undefined ? null : parsePoint(origin, point)
  if (first !== title || origin === undefined || at === null || !/^\d{1,16}$/.test(at_ms ?? '')) return null
  try {
    const keys = { from: parseVkey(from ?? ''), to: parseVkey(to ?? '') }
    for (const key of [keys.from, keys.to]) if (key.name !== origin || openNote(note, key) === null) return null
    return keys.from.keyId.equals(keys.to.keyId) ? null : { origin, ...keys, at, at_ms: Number(at_ms) }
  } catch {
    return null // no keys in it
  }
}

/**
 * The keys that `known` leads to: what it handed over to, and what was handed over to it. INVARIANT: what came before speaks
 * for nobody else: one of them that was stolen, which may be why it was handed over, names no other heir and takes nothing
 * back. Handovers of others are passed over.
 */
export function chainOf(handovers: readonly Handover[], known: Verifier): KeyChain {
  const own = handovers.filter(h => h.origin === known.name)
  const links: Link[] = [{ verifier: known, until: Number.POSITIVE_INFINITY }]
  const among = (key: Verifier) => links.find(link => link.verifier.keyId.equals(key.keyId))
  for (let grown = true; grown; ) {
    grown = false
    for (const { from, to, at } of own) {
      const before = among(from)
      if (before && at.size < before.until) Object.assign(before, { until: at.size, root: at.root })
      if (before && !among(to)) grown = links.push({ verifier: to, until: Number.POSITIVE_INFINITY }) > 0
    }
  }
  for (let first: Verifier | undefined = known; first; ) {
    const heir: Verifier = first
    const giving = own.filter(h => h.to.keyId.equals(heir.keyId) && !among(h.from))
    first = giving[0]?.from
    const ends = giving.filter(h => h.from.keyId.equals(first!.keyId)).sort((a, b) => a.at.size - b.at.size)
    if (first) links.unshift({ verifier: first, until: ends[0]!.at.size, root: ends[0]!.at.root })
  }
  return { name: known.name, links }
}

type Link = { verifier: Verifier; until: number; root?: Buffer | undefined }

/** The key at the end of the chain: it signs now. */
export const lastKey = (chain: KeyChain): Verifier => chain.links.at(-1)!.verifier
