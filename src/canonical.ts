import { createHash } from 'node:crypto'

/** What canonical JSON can carry: RFC 8785 with our narrower rules (safe integers, no lone surrogates). */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

const maxDepth = 128

/**
 * The canonical JSON text of a value (RFC 8785). Members that are `undefined` are left out.
 * @throws TypeError for a number that is no safe integer, a lone surrogate, a depth over 128, or a value JSON cannot carry.
 */
export function canonical(value: Json | undefined, depth = 0): string {
  if (typeof value === 'string') return text(value)
  if (value === null || value === true || value === false) return String(value)
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError(`canonical JSON holds safe integers only, not ${value}`)
    return String(value) // -0 prints as 0
  }
  if (depth > maxDepth) throw new TypeError('canonical JSON is limited to a depth of 128')
  if (Array.isArray(value)) return arrayText(value as readonly Json[], depth)
  if (typeof value === 'object') return objectText(value as { readonly [key: string]: Json | undefined }, depth)
  throw new TypeError(`canonical JSON cannot carry a ${typeof value}`)
}

/** Lower-case hex SHA-256 of a canonical text. */
export function digest(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex')
}

function arrayText(items: readonly Json[], depth: number): string {
  if (items.length === 0) return '[]'
  let out = '['
  for (let i = 0; i < items.length; i++) out += (i === 0 ? '' : ',') + canonical(items[i], depth + 1)
  return out + ']'
}

function objectText(object: { readonly [key: string]: Json | undefined }, depth: number): string {
  let out = ''
  for (const key of sortedKeys(object)) {
    const member = object[key]
    if (member !== undefined) out += (out === '' ? '' : ',') + text(key) + ':' + canonical(member, depth + 1)
  }
  return '{' + out + '}'
}

/** Keys in the order of their UTF-16 code units; hot inputs are built sorted already, so look before sorting. */
function sortedKeys(object: object): string[] {
  const keys = Object.keys(object)
  for (let i = 1; i < keys.length; i++)
    if (keys[i - 1]! > keys[i]!) return keys.length > fewKeys ? keys.sort() : sortFew(keys)
  return keys
}

const fewKeys = 16

/** The same order; the language's own sort costs more than the rest of a small object. */
function sortFew(keys: string[]): string[] {
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i]!
    let at = i
    for (; at > 0 && keys[at - 1]! > key; at--) keys[at] = keys[at - 1]!
    keys[at] = key
  }
  return keys
}

/** Nearly every string needs no escape; the rest goes through `JSON.stringify`, whose escapes are those of RFC 8785. */
const special = /["\\\u0000-\u001f\ud800-\udfff]/

function text(value: string): string {
  if (!special.test(value)) return '"' + value + '"'
  if (!value.isWellFormed()) throw new TypeError('canonical JSON cannot carry a lone surrogate')
  return JSON.stringify(value)
}
