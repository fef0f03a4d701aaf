import { WireError } from './pkt-line.ts'

const mostName = 2048
/** git-check-ref-format(1): what no ref may hold. */
const unfit = /[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|\/\.|\.lock(?:\/|$)|^\.|^\/|\/$|\.$/

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A full name of a ref, or HEAD. @throws WireError for bytes that are no UTF-8, and for what git would not take either. */
export function refName(bytes: Buffer): string {
  if (bytes.length > mostName) throw new WireError(`a ref's name of ${bytes.length} bytes`)
  let name: string
  try {
    name = utf8.decode(bytes)
  } catch {
    throw new WireError("a ref's name that is not UTF-8")
  }
  if (name === 'HEAD' || (name.startsWith('refs/') && isRefName(name))) return name
  throw new WireError(`a name that no ref can have: ${JSON.stringify(name).slice(0, 200)}`)
}

export function isRefName(name: string): boolean {
  return name.length > 0 && name !== '@' && !unfit.test(name) && !/[\p{Cc}\p{Cf}\u2028\u2029]/u.test(name)
}

const objectId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/

/** @throws WireError */
export function idOf(text: string): string {
  if (objectId.test(text)) return text
  throw new WireError('what is no id of an object')
}

export function isZero(id: string): boolean {
  return /^0+$/.test(id)
}
