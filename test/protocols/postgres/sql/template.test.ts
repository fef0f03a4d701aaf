import fc from 'fast-check'
import { parseSync } from 'libpg-query'
import { beforeAll, describe, expect, test } from 'vitest'
import { createAnalyzer } from '../../../../src/protocols/postgres/sql/analyze.ts'
import { loadParser } from '../../../../src/protocols/postgres/sql/parse.ts'
import { shapeOf } from '../../../../src/protocols/postgres/sql/template.ts'
import { attacks, useful } from './corpus.ts'

beforeAll(loadParser)

const context = { searchPath: ['pg_catalog', 'public'], catalog: () => undefined }

/** The parser's tree with every value of a literal taken out: what two texts of one shape must share. */
function bare(sql: string): string {
  const drop = new Set([
    'location',
    'stmt_len',
    'stmt_location',
    'list_start',
    'list_end',
    'rexpr_list_start',
    'rexpr_list_end',
    'name_location',
    'fval',
  ])
  return JSON.stringify(
    parseSync(sql),
    (key, value) =>
      drop.has(key) || ((key === 'ival' || key === 'sval') && typeof value === 'number') ? undefined : value,
    0,
  ).replace(/"A_Const":\{"(\w+)":\{[^{}]*\}/g, '"A_Const":{"$1":{}')
}

const attempt = <T>(run: () => T): T | undefined => {
  try {
    return run()
  } catch {
    return undefined
  }
}

const literals = fc.constantFrom(
  '0',
  '1',
  '7',
  '42',
  '999999999',
  '1234567890',
  '12345678901',
  '4294967296',
  '1.5',
  '0.0',
  "''",
  "'x'",
  "'it''s'",
  "'--'",
  "'/*'",
  "'$1'",
  "'\"'",
  "';'",
  "'é'",
  '-3',
  '1e5',
  '0x1F',
  '1_000',
  "E'a\\'b'",
  '$$ x $$',
  "U&'\\0061'",
  "B'1'",
  "X'1f'",
  "N'n'",
  "'\\'",
  '.5',
  '5.',
  '$1',
  'null',
  'true',
  "'a'\n'b'",
  '1a',
  "'a''",
  "'a",
)
const patterns = fc.constantFrom(
  'select a from t where b = ?',
  'select a, ? from t where b = ? and c = ?',
  'select * from t order by ?',
  'select a from t group by ?',
  'select a from t limit ? offset ?',
  'insert into t values (?, ?), (?, ?)',
  'update t set a = ? where b = ?',
  'delete from t where a in (?, ?)',
  'with x as (select ?) select * from x',
  'values (?)',
  'select ?::text',
  'select cast(? as varchar(?))',
  'select interval ?',
  'select date ? ',
  'select f(?)',
  'select a[?]',
  'select a.b?',
  'select x?',
  'select "?" from t',
  'select ? ?',
  'select ?,?',
  'select(?)',
  'select ?;',
  'select ?; select ?',
  'select ? -- ?',
  'select /* ? */ ?',
  'select a -? b',
  'select ?-?',
  'select ? as "?"',
  'select case when ? then ? end',
  'select nextval(?)',
  'select set_config(?, ?, false)',
  'select extract(? from a)',
  'select a ? b',
  'select e?',
  'select u&?',
  'select distinct on (?) a from t',
  'select a from t order by ?, b',
  'select a::numeric(?, ?) from t',
  'select a from t fetch first ? rows only',
  'select a from t tablesample system (?)',
  'select json_value(a, ?)',
  'select a like ? escape ?',
  '?',
  'select $?',
  'select @?',
  'select ?.a',
  'select a.?',
  'select\t?\nfrom t',
  'select ? from t where a = ? or a between ? and ?',
)
const statement = fc.tuple(patterns, fc.array(literals, { minLength: 8, maxLength: 8 })).map(([p, values]) => {
  let i = 0
  return p.replace(/\?/g, () => values[i++ % values.length]!)
})

describe('a shape', () => {
  test('stands for one tree: two texts of one shape parse alike up to their literals', () => {
    const seen = new Map<string, { sql: string; tree: string }>()
    let met = 0
    fc.assert(
      fc.property(statement, sql => {
        const shape = shapeOf(sql)
        const tree = attempt(() => bare(sql))
        if (shape === undefined || tree === undefined) return
        const before = seen.get(shape)
        if (before === undefined) {
          seen.set(shape, { sql, tree })
          return
        }
        met++
        expect(`${before.sql} → ${before.tree}`).toBe(`${before.sql} → ${tree}`)
      }),
      { numRuns: 20_000 },
    )
    expect(met).toBeGreaterThan(1000)
  })

  test('whatever is cached, the answer is the one without a cache', () => {
    const cached = createAnalyzer(context)
    const plain = createAnalyzer(context, { cache: false })
    fc.assert(
      fc.property(fc.oneof(statement, fc.constantFrom(...useful, ...attacks.map(a => a.sql))), sql => {
        const a = cached.analyze(sql)
        const b = plain.analyze(sql)
        // a text that the parser refuses may hit the shape of one that it takes; the server refuses it then
        if (b.ok) expect(a).toEqual({ ...b, texts: a.ok ? a.texts : [] })
      }),
      { numRuns: 20_000 },
    )
  })

  test('random text never throws, and never hits another statement', () => {
    const cached = createAnalyzer(context)
    const plain = createAnalyzer(context, { cache: false })
    const soup = fc.array(
      fc.constantFrom(
        'select ',
        'a',
        '1',
        "'",
        '"',
        '$',
        '$$',
        '\\',
        '--',
        '/*',
        '*/',
        '.',
        ',',
        '(',
        ')',
        ' ',
        '\n',
        'E',
        'U&',
        ';',
        'é',
        '\u0001',
        '0x',
        '::',
        '-',
        'from t',
        '[',
        ']',
      ),
      { maxLength: 25 },
    )
    fc.assert(
      fc.property(soup, parts => {
        const sql = `select ${parts.join('')}`
        const b = plain.analyze(sql)
        if (b.ok) expect(cached.analyze(sql)).toMatchObject({ ok: true, statements: b.statements })
        else cached.analyze(sql)
      }),
      { numRuns: 20_000 },
    )
  })

  test.each([
    "select E'a'",
    "select x'1f'",
    "select B'1'",
    "select N'a'",
    "select U&'a'",
    'select U&"a"',
    'select $$a$$',
    'select $x$a$x$',
    "select 'a\\b'",
    'select 1 -- x',
    'select /* x */ 1',
    "select 'open",
    'select "open',
    'select 1e5',
    'select 0x1f',
    'select 1_000',
    'select .5',
    'select 1.',
    'select 1; select 2',
    'set a = 1',
    'select 1234567890',
    'begin',
    'select \u0001i',
  ])('gives up on %s', sql => {
    expect(shapeOf(sql)).toBeUndefined()
  })

  test('is the same for other values, and keeps what is no literal', () => {
    expect(shapeOf('select a1 from t2 where "x 3" = 5 and b = \'y\' and c = $1;')).toBe(
      shapeOf("select a1 from t2 where \"x 3\" = 77 and b = 'it''s' and c = $1"),
    )
    expect(shapeOf('select a1 from t where b = 1')).not.toBe(shapeOf('select a2 from t where b = 1'))
    expect(shapeOf('select 1')).not.toBe(shapeOf('select 1.0'))
    expect(shapeOf('select $1')).not.toBe(shapeOf('select $2'))
  })
})

describe('the cache', () => {
  test('answers the same object for another literal, and another for another shape', () => {
    const analyzer = createAnalyzer(context)
    const statement = (sql: string) => {
      const analysis = analyzer.analyze(sql)
      return analysis.ok ? analysis.statements[0] : undefined
    }
    expect(statement('select a from t where b = 1')).toBe(statement('select a from t where b = 2;'))
    expect(statement('select a from t order by 1')).not.toBe(statement('select a from t order by 2'))
  })

  test('is empty after the catalog changed', () => {
    let catalog: undefined | never
    const analyzer = createAnalyzer({ ...context, catalog: () => catalog })
    const first = analyzer.analyze('select 1')
    expect(analyzer.analyze('select 2').ok && first.ok).toBe(true)
  })
})
