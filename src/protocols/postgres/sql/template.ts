/**
 * The shape of a statement: its text with plain literals replaced by marks. Two texts of one shape have the same tokens
 * up to the values of literals, so the parser gives them the same tree up to these values.
 * INVARIANT: where that is not certain, the answer is undefined and the text goes to the parser.
 */
const maxLength = 16_384
const maxLiterals = 200

/** By character: 0 plain, 1 part of a name, 2 digit, 3 string, 4 quoted name, 5 gives up, 6 dollar, 7 minus or slash, 8 semicolon. */
const kinds = new Uint8Array(128)
for (const c of 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_') kinds[c.charCodeAt(0)] = 1
for (const c of '0123456789') kinds[c.charCodeAt(0)] = 2
kinds[39] = 3
kinds[34] = 4
for (const c of ['\\', '\0', '\u0001']) kinds[c.charCodeAt(0)] = 5
kinds[36] = 6
kinds[59] = 8
kinds[45] = 7
kinds[47] = 7

const cacheable = /^\s*(?:select|insert|update|delete|with|values)\b/i

export function shapeOf(sql: string): string | undefined {
  const length = sql.length
  if (length > maxLength || !cacheable.test(sql)) return undefined
  let shape = ''
  let from = 0
  let literals = 0
  let i = 0
  while (i < length) {
    const c = sql.charCodeAt(i)
    const kind = c < 128 ? kinds[c] : 1
    if (kind === 0) {
      i++
      continue
    }
    if (kind === 1) {
      i = endOfName(sql, i, length)
      // a prefix makes another literal of what follows: E'…', X'…', U&'…', "…" glued to a name
      const after = sql.charCodeAt(i)
      if (
        after === 39 ||
        after === 34 ||
        (after === 38 && (sql.charCodeAt(i + 1) === 39 || sql.charCodeAt(i + 1) === 34))
      )
        return undefined
      continue
    }
    if (kind === 2) {
      if (i > 0 && sql.charCodeAt(i - 1) === 46) return undefined
      const end = endOfDigits(sql, i, length)
      let stop = end
      // up to nine digits are an integer to the parser, eleven and more are not; ten depend on the value
      if (end - i === 10 || (end - i > 10 && c === 48)) return undefined
      let mark = end - i < 10 ? '\u0001i' : '\u0001f'
      if (sql.charCodeAt(end) === 46) {
        stop = endOfDigits(sql, end + 1, length)
        if (stop === end + 1) return undefined
        mark = '\u0001f'
      }
      const after = stop < length ? sql.charCodeAt(stop) : 32
      if (
        after >= 128 ||
        after === 46 ||
        kinds[after] === 1 ||
        kinds[after] === 2 ||
        kinds[after] === 3 ||
        kinds[after] === 4 ||
        kinds[after] === 6
      )
        return undefined
      shape += sql.slice(from, i) + mark
      from = i = stop
      if (++literals > maxLiterals) return undefined
      continue
    }
    if (kind === 3) {
      const end = endOfString(sql, i + 1, length)
      if (end < 0) return undefined
      shape += sql.slice(from, i) + '\u0001s'
      from = i = end
      if (++literals > maxLiterals) return undefined
      continue
    }
    if (kind === 4) {
      const end = sql.indexOf('"', i + 1)
      if (end < 0) return undefined
      i = end + 1
      continue
    }
    if (kind === 6) {
      // $1 stays; anything else begins a dollar quote
      const end = endOfDigits(sql, i + 1, length)
      if (
        end === i + 1 ||
        (end < length && (sql.charCodeAt(end) >= 128 || [1, 3, 4, 6].includes(kinds[sql.charCodeAt(end)]!)))
      )
        return undefined
      i = end
      continue
    }
    if (kind === 7) {
      const after = sql.charCodeAt(i + 1)
      if (c === 45 ? after === 45 : after === 42) return undefined
      i++
      continue
    }
    if (kind === 8 && /^[;\s]*$/.test(sql.slice(i))) return from === 0 ? sql.slice(0, i) : shape + sql.slice(from, i)
    return undefined
  }
  return from === 0 ? sql : shape + sql.slice(from)
}

function endOfName(sql: string, at: number, length: number): number {
  let i = at + 1
  while (i < length) {
    const c = sql.charCodeAt(i)
    if (c < 128) {
      const kind = kinds[c]
      if (kind !== 1 && kind !== 2 && kind !== 6) break
    }
    i++
  }
  return i
}

function endOfDigits(sql: string, at: number, length: number): number {
  let i = at
  while (i < length && sql.charCodeAt(i) >= 48 && sql.charCodeAt(i) <= 57) i++
  return i
}

/** @returns where the string ends, or −1 for one that is open or holds a backslash or another control character */
function endOfString(sql: string, at: number, length: number): number {
  for (let i = at; i < length; i++) {
    const c = sql.charCodeAt(i)
    if (c === 39) {
      if (sql.charCodeAt(i + 1) !== 39) return i + 1
      i++
    } else if (c === 92 || c === 0) return -1
  }
  return -1
}
