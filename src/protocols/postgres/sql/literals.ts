/**
 * The lexical rules of PostgreSQL (standard_conforming_strings on, UTF-8), as far as they say where literals and comments
 * are. `next` answers the end of the token at `at`; an open quote or comment ends with the text.
 */
export type TokenKind =
  | 'space'
  | 'comment'
  | 'string'
  | 'number'
  | 'name'
  | 'quoted_name'
  | 'parameter'
  | 'operator'
  | 'other'

export interface Token {
  readonly kind: TokenKind
  readonly start: number
  readonly end: number
  /** A string whose end was found. */
  readonly closed: boolean
}

const isDigit = (c: number) => c >= 48 && c <= 57
const isNameStart = (c: number) => (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95 || c >= 128
const isNamePart = (c: number) => isNameStart(c) || isDigit(c) || c === 36
const isSpace = (c: number) => c === 32 || (c >= 9 && c <= 13)
const operators = '+-*/<>=~!@#%^&|`?'

export function* tokens(sql: string): Generator<Token> {
  let at = 0
  while (at < sql.length) {
    const token = next(sql, at)
    yield token
    at = token.end
  }
}

function next(sql: string, start: number): Token {
  const c = sql.charCodeAt(start)
  const one = (kind: TokenKind, end: number, closed = true): Token => ({ kind, start, end, closed })
  if (isSpace(c)) {
    let end = start + 1
    while (end < sql.length && isSpace(sql.charCodeAt(end))) end++
    return one('space', end)
  }
  if (c === 45 && sql.charCodeAt(start + 1) === 45) {
    let end = start
    while (end < sql.length && sql.charCodeAt(end) !== 10 && sql.charCodeAt(end) !== 13) end++
    return one('comment', end)
  }
  if (c === 47 && sql.charCodeAt(start + 1) === 42) return one('comment', endOfComment(sql, start))
  if (c === 39) return string(sql, start, start + 1, false)
  if (c === 34) return quoted(sql, start, start + 1)
  if (isNameStart(c)) {
    const lower = sql[start]!.toLowerCase()
    if (sql.charCodeAt(start + 1) === 39 && 'ebxn'.includes(lower)) return string(sql, start, start + 2, lower === 'e')
    if (lower === 'u' && sql[start + 1] === '&' && sql[start + 2] === "'") return string(sql, start, start + 3, false)
    if (lower === 'u' && sql[start + 1] === '&' && sql[start + 2] === '"') return quoted(sql, start, start + 3)
    let end = start + 1
    while (end < sql.length && isNamePart(sql.charCodeAt(end))) end++
    return one('name', end)
  }
  if (c === 36) {
    let end = start + 1
    if (isDigit(sql.charCodeAt(end))) {
      while (end < sql.length && isDigit(sql.charCodeAt(end))) end++
      return one('parameter', end)
    }
    return dollarQuoted(sql, start)
  }
  if (isDigit(c) || (c === 46 && isDigit(sql.charCodeAt(start + 1)))) {
    const match =
      /^(?:0[xXoObB][0-9a-fA-F_]+|(?:[0-9][0-9_]*)?\.?[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?|[0-9][0-9_]*\.?(?:[eE][+-]?[0-9]+)?)/.exec(
        sql.slice(start, start + 400),
      )
    let end = start + (match?.[0].length ?? 1)
    while (end < sql.length && isNamePart(sql.charCodeAt(end))) end++ // trailing junk belongs to what must not be shown
    return one('number', end)
  }
  return one(operators.includes(sql[start]!) ? 'operator' : 'other', start + 1)
}

function endOfComment(sql: string, start: number): number {
  let depth = 0
  for (let i = start; i < sql.length; i++) {
    if (sql[i] === '/' && sql[i + 1] === '*') {
      depth++
      i++
    } else if (sql[i] === '*' && sql[i + 1] === '/') {
      i++
      if (--depth === 0) return i + 1
    }
  }
  return sql.length
}

function string(sql: string, start: number, from: number, escapes: boolean): Token {
  for (let i = from; i < sql.length; i++) {
    const c = sql.charCodeAt(i)
    if (escapes && c === 92) i++
    else if (c === 39) {
      if (sql.charCodeAt(i + 1) === 39) i++
      else if (escapes && continues(sql, i + 1) > 0) i = continues(sql, i + 1)
      else return { kind: 'string', start, end: i + 1, closed: true }
    }
  }
  return { kind: 'string', start, end: sql.length, closed: false }
}

/** `E'a'` newline `'b'` is one string, and the second part keeps the escapes of the first. @returns where it goes on */
function continues(sql: string, at: number): number {
  const match = /^[ \t\f\v]*(?:--[^\n\r]*)?[\n\r](?:[ \t\f\v\n\r]|--[^\n\r]*[\n\r])*'/.exec(sql.slice(at, at + 2000))
  return match === null ? 0 : at + match[0].length - 1
}

function quoted(sql: string, start: number, from: number): Token {
  for (let i = from; i < sql.length; i++) {
    if (sql.charCodeAt(i) !== 34) continue
    if (sql.charCodeAt(i + 1) === 34) i++
    else return { kind: 'quoted_name', start, end: i + 1, closed: true }
  }
  return { kind: 'quoted_name', start, end: sql.length, closed: false }
}

function dollarQuoted(sql: string, start: number): Token {
  let end = start + 1
  if (isNameStart(sql.charCodeAt(end)))
    while (end < sql.length && (isNameStart(sql.charCodeAt(end)) || isDigit(sql.charCodeAt(end)))) end++
  if (sql[end] !== '$') return { kind: 'other', start, end: start + 1, closed: true }
  const tag = sql.slice(start, end + 1)
  const close = sql.indexOf(tag, end + 1)
  return close < 0
    ? { kind: 'string', start, end: sql.length, closed: false }
    : { kind: 'string', start, end: close + tag.length, closed: true }
}

/**
 * The text with every literal as `?` and every comment gone: what may be recorded of a statement on masked relations.
 * It never throws and never shows more than names, keywords, operators and parameters.
 */
export function withoutLiterals(sql: string): string {
  const out: string[] = []
  for (const token of tokens(sql)) {
    if (token.kind === 'string' || token.kind === 'number') out.push('?')
    else if (token.kind === 'comment') out.push(' ')
    else if (!token.closed) out.push('?')
    else out.push(sql.slice(token.start, token.end))
  }
  return out.join('')
}

const chaining =
  /^(?:union|intersect|except|join|not|and|or|is|isnull|notnull|collate|at|like|ilike|between|in|when|escape|similar|overlaps)$/i

/**
 * How deep the parser's tree may get: operators and words that chain, brackets that nest. The parser recurses on them,
 * so a text with too many is refused before it sees them. `tokens`: how long it will work, for it works alone.
 */
export function complexity(sql: string): { readonly depth: number; readonly tokens: number } {
  let count = 0
  let all = 0
  let before = ''
  let operatorBefore = false
  for (const token of tokens(sql)) {
    if (token.kind === 'space' || token.kind === 'comment') continue
    all++
    const operator = token.kind === 'operator'
    if (operator && !operatorBefore && before !== '(' && before !== ',') count++
    else if (operator && operatorBefore) count++
    else if (token.kind === 'name' && chaining.test(sql.slice(token.start, token.end))) count++
    else if (token.kind === 'other' && '[:.'.includes(sql[token.start]!)) count++
    operatorBefore = operator
    before = sql.slice(token.start, Math.min(token.end, token.start + 1))
  }
  return { depth: count, tokens: all }
}
