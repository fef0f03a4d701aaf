import { beforeAll, describe, expect, test } from 'vitest'
import { createAnalyzer } from '../../../../src/protocols/postgres/sql/analyze.ts'
import type { Statement } from '../../../../src/protocols/postgres/sql/contract.ts'
import { createNames } from '../../../../src/protocols/postgres/sql/names.ts'
import { loadParser } from '../../../../src/protocols/postgres/sql/parse.ts'
import { scrubResponse } from '../../../../src/protocols/postgres/sql/scrub.ts'

beforeAll(loadParser)

const analyzer = createAnalyzer({ searchPath: ['pg_catalog', 'public'], catalog: () => undefined })
type Named = (name: string) => Statement[] | undefined
const none: Named = () => undefined

function on(names = createNames()) {
  return (sql: string, statements: Named = none, portal = (_: string) => false) => {
    const analysis = analyzer.analyze(sql, names.created)
    if (!analysis.ok) throw new Error(analysis.message)
    return names.resolve(analysis.statements[0]!, sql, { statements, portal })
  }
}

describe('names of a connection', () => {
  test('PG2: EXECUTE is what was prepared', () => {
    const send = on()
    send('prepare p as delete from t where a = $1')
    const { action } = send('execute p(1)')
    expect([action.kind, action.verb, action.writes[0]?.name]).toEqual(['execute', 'write', 't'])
  })

  test('PG2: EXECUTE of a name nobody prepared here is refused, and unknown to policy', () => {
    const statement = on()('execute p')
    expect(statement.refusal).toContain('not known')
    expect(statement.action.verb).toBe('unknown')
  })

  test('PG2: EXECUTE of a Parse name is what Parse sent', () => {
    const send = on()
    const parsed = analyzer.analyze('drop table t')
    expect(
      send('execute s1', name => (name === 's1' && parsed.ok ? [...parsed.statements] : undefined)).action.verb,
    ).toBe('ddl')
    expect(
      send('prepare s1 as select 1', name => (name === 's1' && parsed.ok ? [...parsed.statements] : undefined)).refusal,
    ).not.toBeNull()
  })

  test('PG2: a name never gets a second meaning, whether DEALLOCATE worked or not', () => {
    const send = on()
    send('prepare p as delete from t')
    send('deallocate p')
    expect(send('prepare p as select 1').refusal).not.toBeNull()
    expect(send('execute p').action.verb).toBe('write')
    expect(send('prepare p as delete from t').refusal).toBeNull()
  })

  test('PG2: arguments count too', () => {
    const send = on()
    send('prepare p(bool) as select $1')
    expect(send('execute p(pg_terminate_backend(1))').action.verb).toBe('admin')
  })

  test('EXPLAIN EXECUTE and CREATE TABLE AS EXECUTE are not followed, so they are unknown', () => {
    const send = on()
    send('prepare p as delete from t')
    expect(send('explain analyze execute p').action.verb).toBe('unknown')
    expect(send('create table x as execute p').action.verb).toBe('unknown')
  })

  test('FETCH from a cursor of somebody else is refused', () => {
    const send = on()
    expect(send('fetch all from c').refusal).not.toBeNull()
    send('declare c cursor for select 1')
    expect(send('fetch all from c').refusal).toBeNull()
  })

  test('names are bounded', () => {
    const send = on()
    for (let i = 0; i < 1000; i++) expect(send(`prepare p${i} as select 1`).refusal).toBeNull()
    expect(send('prepare more as select 1').refusal).toContain('too many')
  })
})

describe('errors and notices where columns are masked', () => {
  const fields = (o: Record<string, string>) => new Map(Object.entries(o))

  test.each(['22P02', '23505', '23514', '23503', 'P0001', 'XX000', '00000', '22007'])(
    'MK9: code %s keeps its code and loses its texts',
    code => {
      const shown = scrubResponse(
        fields({
          S: 'ERROR',
          V: 'ERROR',
          C: code,
          M: 'CANARY',
          D: 'CANARY',
          H: 'CANARY',
          W: 'CANARY',
          q: 'CANARY',
          P: '5',
          n: 'CANARY',
        }),
      )
      expect(shown.get('C')).toBe(code)
      expect(JSON.stringify([...shown])).not.toContain('CANARY')
    },
  )

  test('MK10: a code that says nothing of values is no way out for RAISE', () => {
    expect(
      JSON.stringify([...scrubResponse(fields({ S: 'ERROR', C: '42601', M: 'CANARY', W: 'PL/pgSQL function f()' }))]),
    ).not.toContain('CANARY')
    expect(scrubResponse(fields({ S: 'ERROR', C: '42703', M: 'column "x" does not exist' })).get('M')).toBe(
      'column "x" does not exist',
    )
  })

  test('an answer without SQLSTATE gets one', () => {
    expect(scrubResponse(fields({ M: 'CANARY' })).get('C')).toBe('XX000')
  })
})
