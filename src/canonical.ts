import { createHash } from 'node:crypto'

/** What canonical JSON can carry: RFC 8785 with our narrower rules (safe integers, no lone surrogates). */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

const maxDepth = 128

/**
 * The canonical JSON text of a value (RFC 8785). Members that are `undefined` are left out.
 * @throws TypeError for a number that is no safe integer, a lone surrogate, a depth over 128, or a value JSON cannot carry.
 */
export function canonical(value: Json | undefined, depth = 0): string {
  if (depth > maxDepth) throw new TypeError('canonical JSON is limited to a depth of 128')
  if (value === null || value === true || value === false) return String(value)
  if (typeof value === 'string') return text(value)
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError(`canonical JSON holds safe integers only, not ${value}`)
    return Object.is(value, -0) ? '0' : String(value)
  }
  if (Array.isArray(value)) return '[' + value.map(item => canonical(item as Json, depth + 1)).join(',') + ']'
  if (typeof value === 'object' && value !== null) {
    const object = value as { readonly [key: string]: Json | undefined }
    let out = ''
    for (const key of Object.keys(object).sort()) {
      const member = object[key]
      if (member !== undefined) out += (out ? ',' : '') + text(key) + ':' + canonical(member, depth + 1)
    }
    return '{' + out + '}'
  }
  throw new TypeError(`canonical JSON cannot carry a ${typeof value}`)
}

/** Lower-case hex SHA-256 of a canonical text. */
export function digest(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex')
}

function text(value: string): string {
  if (!value.isWellFormed()) throw new TypeError('canonical JSON cannot carry a lone surrogate')
  return JSON.stringify(value)
}
