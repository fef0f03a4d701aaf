import { createHmac } from 'node:crypto'

/** What a masking rule asks for; the shape of `transform` in the policy's rules. */
export interface Transform {
  readonly kind: string
  readonly keep_last?: number
  readonly value?: string
}

export type TextTransform = (value: string) => string | null

export const redacted = '[redacted]'
/** Where a rule does not say. */
export const defaultKept = 4
const maxStars = 64
const maxFixed = 1024
const separators: ReadonlySet<string> = new Set([' ', '-', '.', '/', '@', ':', '(', ')', '+'])

/** Strictest first: where several rules match one column, the first of this order is carried out. */
export const strictness = ['redact', 'null', 'fixed', 'hash', 'partial'] as const

/** @returns a pure function from a text to what may be shown of it. An unknown kind redacts. */
export function compileTransform(transform: Transform, hashKey: Uint8Array): TextTransform {
  switch (transform.kind) {
    case 'null':
      return () => null
    case 'fixed': {
      const value = (transform.value ?? redacted).slice(0, maxFixed)
      return () => value
    }
    case 'hash':
      return value => hashOf(value, hashKey)
    case 'partial': {
      const keep = transform.keep_last ?? defaultKept
      return value => keepLast(value, keep)
    }
    default:
      return () => redacted
  }
}

/** HMAC-SHA-256 under the deployment's key, 128 bits in hex: equal values stay equal, and nobody without the key can try values. */
export function hashOf(value: string | Uint8Array, key: Uint8Array): string {
  return createHmac('sha256', key).update(value).digest('hex').slice(0, 32)
}

/**
 * Shows the last `keep` characters and the separators, a star for every other one. At least half of the characters
 * (separators apart) stay hidden, so a short value is never shown whole. It counts code points, so no pair is split.
 */
export function keepLast(value: string, keep: number): string {
  const all = Array.from(value)
  const characters = all.filter(c => !separators.has(c)).length
  let shown = Math.min(Math.max(0, Math.trunc(keep)), Math.floor(characters / 2))
  const out: string[] = []
  let stars = 0
  for (let i = all.length - 1; i >= 0; i--) {
    const c = all[i]!
    if (separators.has(c)) out.push(c)
    else if (shown > 0 && !isJoining(c)) {
      out.push(c)
      shown--
    } else if (stars++ < maxStars) out.push('*')
    else break
  }
  return out.reverse().join('')
}

const isSeparator = new Uint8Array(128)
for (const c of separators) isSeparator[c.charCodeAt(0)] = 1
const star = 42

/**
 * `keepLast` of ASCII text from bytes to bytes, which is what most values of most columns are.
 * @param target has room for as many bytes as the text has.
 * @returns how many bytes were written at `at`; −1, with nothing decided, when the text is not ASCII.
 */
export function keepLastAscii(
  source: Uint8Array,
  from: number,
  end: number,
  keep: number,
  target: Uint8Array,
  at: number,
): number {
  let characters = 0
  for (let i = from; i < end; i++) {
    const c = source[i]!
    if (c > 127) return -1
    characters += 1 - isSeparator[c]!
  }
  const hidden = characters - Math.min(Math.max(0, Math.trunc(keep)), Math.floor(characters / 2))
  const dropped = Math.max(0, hidden - maxStars) // from the left, with the separators between them
  let seen = 0
  let i = from
  while (seen < dropped) seen += 1 - isSeparator[source[i++]!]!
  let to = at
  for (; i < end; i++) {
    const c = source[i]!
    target[to++] = isSeparator[c] === 1 || seen++ >= hidden ? c : star
  }
  return to - at
}

/** Combining marks and joiners belong to the character before them, which may be a hidden one. */
const isJoining = (c: string): boolean => /^(?:\p{M}|\u200d|\u200c|\ufe0e|\ufe0f)$/u.test(c)
