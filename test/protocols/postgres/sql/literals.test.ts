import fc from 'fast-check'
import { scanSync } from 'libpg-query'
import { beforeAll, expect, test } from 'vitest'
import { tokens, withoutLiterals } from '../../../../src/protocols/postgres/sql/literals.ts'
import { loadParser } from '../../../../src/protocols/postgres/sql/parse.ts'
import { attacks, useful } from './corpus.ts'

beforeAll(loadParser)

const literalTokens = new Set(['ICONST', 'FCONST', 'SCONST', 'USCONST', 'BCONST', 'XCONST'])

/** Texts of literals and comments as PostgreSQL's own scanner sees them. */
function scanned(sql: string): string[] | undefined {
  try {
    const bytes = Buffer.from(sql, 'utf8')
    // the scanner's binding has no names for bit strings and U& strings
    return scanSync(sql)
      .tokens.map(t => ({ name: t.tokenName, text: bytes.toString('utf8', t.start, t.end) }))
      .filter(t => literalTokens.has(t.name) || /^(?:[xXbB]|[uU]&)'/.test(t.text))
      .map(t => t.text)
  } catch {
    return undefined
  }
}
const found = (sql: string): string[] =>
  [...tokens(sql)]
    .filter(t => t.kind === 'string' || t.kind === 'number')
    .map(t => sql.slice(t.start, t.end).replace(/^[nN]'/, "'"))

/** A string that goes on behind a newline is one token to the scanner and two to us; what matters is that none is left out. */
const joined = (parts: readonly string[]) => parts.join('').replace(/\s|--[^\n]*/g, '')

test('every literal that the server sees is taken out', () => {
  const piece = fc.constantFrom(
    'select ',
    'a',
    '1',
    '12.5',
    '1e9',
    "'x'",
    "'it''s'",
    '"q"',
    "$$d'd$$",
    '$t$ $$ $t$',
    "E'a\\'b'",
    "e'\\\\'",
    "U&'\\0061'",
    'U&"x"',
    "B'01'",
    "X'ff'",
    "N'n'",
    '--c\n',
    '/* c */',
    '/* /* n */ */',
    '$1',
    ' ',
    '\n',
    ',',
    '::',
    '+',
    '-',
    '(',
    ')',
    '.',
    'é',
    "'é€😀'",
    'a$b',
    '_x',
    'from t',
    '0x1F',
    '1_000',
    '.5',
  )
  let compared = 0
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 15 }), parts => {
      const sql = `select ${parts.join(' ')}`
      const theirs = scanned(sql)
      if (theirs === undefined) return
      compared++
      expect(joined(found(sql))).toBe(joined(theirs))
    }),
    { numRuns: 10_000 },
  )
  expect(compared).toBeGreaterThan(2000)
})

test('the corpus keeps its words and loses its values', () => {
  for (const sql of [...useful, ...attacks.map(a => a.sql)]) {
    const theirs = scanned(sql)
    if (theirs !== undefined) expect(joined(found(sql)), sql).toBe(joined(theirs))
  }
})

test.each([
  ["select ssn from t where ssn = 'CANARY' and b = 12", 'select ssn from t where ssn = ? and b = ?'],
  ["select E'CAN\\'ARY', $x$CANARY$x$, U&'CANARY'", 'select ?, ?, ?'],
  ['select 1 -- CANARY', 'select ?  '],
  ['select /* CANARY /* CANARY */ CANARY */ 1', 'select   ?'],
  ["select 'CANARY", 'select ?'],
  ['select $$CANARY', 'select ?'],
  ["select E'CANARY\\", 'select ?'],
  ['select "CANARY', 'select ?'],
  ['select /* CANARY', 'select  '],
  ["insert into t values ($1, 'CANARY')", 'insert into t values ($1, ?)'],
])('%s → %s', (sql, shown) => {
  expect(withoutLiterals(sql)).toBe(shown)
})

test('never throws', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), sql => void withoutLiterals(sql)))
})
