import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAnalyzer } from '../../../../src/protocols/postgres/sql/analyze.ts'
import type { Statement } from '../../../../src/protocols/postgres/sql/contract.ts'
import { fitPlan } from '../../../../src/protocols/postgres/sql/plan.ts'
import { globMatches, stricter } from '../../../../src/protocols/postgres/sql/rules.ts'
import { dataRow, hashKey, openShop, rules, run, type Shop, valuesOf } from './shop.ts'

let shop: Shop
beforeAll(async () => {
  shop = await openShop()
})
afterAll(() => shop?.close())

const statement = (sql: string): Statement => {
  const analysis = shop.analyzer.analyze(sql)
  if (!analysis.ok) throw new Error(analysis.message)
  return analysis.statements[0]!
}

async function shown(sql: string, binary: boolean) {
  const judgement = shop.plan.judge(statement(sql))
  if (!judgement.ok) throw new Error(judgement.reason)
  const answer = await run(shop.client, sql, binary)
  const mask = shop.plan.rows(judgement, answer.fields, binary ? [1] : [])
  return answer.rows.map(row => valuesOf(mask?.rewrite(dataRow(row)) ?? dataRow(row)))
}

describe('values in both formats', () => {
  test('MK15: text, jsonb, json, bytea, arrays, bigint and uuid stay values of their type', async () => {
    const sql = 'select ssn, email, notes, doc, tags, photo, national, card from customers where id = 1'
    const [texts] = await shown(sql, false)
    const [bytes] = await shown(sql, true)
    const t = texts!.map(v => v?.toString() ?? null)
    expect(t[0]).toBe('[redacted]')
    expect(t[1]).toBe('******.***@******.****ple'.replace(/\*+ple$/, '****ple'))
    expect(JSON.parse(t[2]!)).toBe('[redacted]')
    expect(JSON.parse(t[3]!)).toMatch(/^[0-9a-f]{32}$/)
    expect(t[4]).toBe('{"hidden \\"tag\\"","hidden \\"tag\\""}')
    expect(t[5]).toMatch(/^\\x[0-9a-f]{64}$/)
    expect(t[6]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(t[7]).toBe('7777')
    expect(bytes![0]!.toString()).toBe('[redacted]')
    expect(bytes![2]![0]).toBe(1)
    expect(JSON.parse(bytes![2]!.toString('utf8', 1))).toBe('[redacted]')
    expect(bytes![5]!.toString('hex')).toBe(t[5]!.slice(2))
    expect(bytes![6]!.toString('hex')).toBe(t[6]!.replaceAll('-', ''))
    expect(bytes![7]!.readBigInt64BE()).toBe(7777n)
    // the server itself reads back what was made
    for (const [i, type] of [
      [4, 'text[]'],
      [2, 'jsonb'],
      [5, 'bytea'],
      [6, 'uuid'],
      [7, 'int8'],
    ] as const)
      await expect(shop.client.query(`select $1::text::${type}`, [t[i]])).resolves.toBeDefined()
  })

  test('a row that does not fit its description is never passed', () => {
    const judgement = shop.plan.judge(statement('select ssn from customers'))
    if (!judgement.ok) throw new Error(judgement.reason)
    const oid = shop.snapshot.byName.get('public\0customers')!.oid
    const mask = shop.plan.rows(judgement, [{ name: 'ssn', tableOid: oid, attnum: 4, typeOid: 25 }], [])!
    const row = dataRow([Buffer.from('x')])
    for (const bad of [
      Buffer.alloc(0),
      row.subarray(0, 5),
      dataRow([null, null]),
      Buffer.concat([row, Buffer.from('y')]),
    ])
      expect(() => mask.rewrite(bad)).toThrow()
    expect(mask.rewrite(dataRow([null]))).toEqual(dataRow([null]))
  })

  test('MK3: more columns than the tree knew: what the server does not vouch for is NULL', () => {
    const judgement = shop.plan.judge(statement('select ssn from customers'))
    if (!judgement.ok) throw new Error(judgement.reason)
    const unknown = { name: '?', tableOid: 0, attnum: 0, typeOid: 25 }
    const mask = shop.plan.rows(judgement, [unknown, unknown], [])!
    expect(valuesOf(mask.rewrite(dataRow([Buffer.from('a'), Buffer.from('b')])))).toEqual([null, null])
  })

  test('MK4: a whole row that the server names is NULL', () => {
    const judgement = shop.plan.judge(statement('fetch all from c'))
    if (!judgement.ok) throw new Error(judgement.reason)
    const oid = shop.snapshot.byName.get('public\0customers')!.oid
    const mask = shop.plan.rows(judgement, [{ name: 'c', tableOid: oid, attnum: 0, typeOid: 2249 }], [])!
    expect(valuesOf(mask.rewrite(dataRow([Buffer.from('(1)')])))).toEqual([null])
  })

  test('MK7: FETCH and EXECUTE keep their columns masked', async () => {
    await shop.client.query('begin; declare c cursor for select ssn from customers')
    try {
      const judgement = shop.plan.judge(statement('fetch all from c'))
      if (!judgement.ok) throw new Error(judgement.reason)
      const answer = await run(shop.client, 'fetch all from c', false)
      const mask = shop.plan.rows(judgement, answer.fields, [])!
      for (const row of answer.rows) expect(valuesOf(mask.rewrite(dataRow(row)))[0]!.toString()).toBe('[redacted]')
    } finally {
      await shop.client.query('rollback')
    }
  })
})

describe('fitting rules to a catalog', () => {
  const fitted = (extra: Partial<(typeof rules)[number]>, match = {}) =>
    fitPlan(
      [{ ...rules[0]!, ...extra, match: { schema: 'public', table: 'customers', column: 'ssn', ...match } }],
      shop.snapshot,
      hashKey,
    )

  test('MK16: an exact rule that finds no column stops the session; a pattern that finds none does not', () => {
    expect(fitted({}, { column: 'renamed' }).ok).toBe(false)
    expect(fitted({}, { table: 'gone' }).ok).toBe(false)
    expect(fitted({}, { schema: '*', table: 'gone' }).ok).toBe(true)
  })

  test('what this build cannot carry out is refused', () => {
    expect(fitted({ on_derived: 'mask' }).ok).toBe(false)
    expect(fitted({ predicates: 'allow' }).ok).toBe(false)
    expect(fitPlan(rules, undefined, hashKey).ok).toBe(false)
    expect(fitPlan(rules, shop.snapshot, new Uint8Array()).ok).toBe(false)
    expect(fitPlan([], undefined, new Uint8Array()).ok).toBe(true)
  })

  test('the strictest of several rules wins, in any order', () => {
    const order = ['redact', 'null', 'fixed', 'hash', 'partial']
    for (const [i, a] of order.entries())
      for (const b of order.slice(i)) {
        expect(stricter({ kind: a as never }, { kind: b as never }).kind).toBe(a)
        expect(stricter({ kind: b as never }, { kind: a as never }).kind).toBe(a)
      }
    expect(stricter({ kind: 'partial', keep_last: 4 }, { kind: 'partial', keep_last: 2 }).keep_last).toBe(2)
  })

  test.each([
    ['*', 'x', true],
    ['a*', 'abc', true],
    ['*c', 'abc', true],
    ['a*c', 'abc', true],
    ['a*b*c', 'a1b2c', true],
    ['aa*aa', 'aaa', false],
    ['a*', 'b', false],
    ['a.c', 'abc', false],
    ['', '', true],
    ['abc', 'ABC', false],
  ])('%s on %s: %s', (glob, name, yes) => {
    expect(globMatches(glob, name)).toBe(yes)
  })
})

describe('the catalog', () => {
  test('is not loaded again while nothing changed, and is after a change', async () => {
    expect(await shop.catalog.refresh()).toBe(false)
    const before = shop.catalog.current()
    await shop.client.query('create table fresh (a int)')
    expect(await shop.catalog.refresh()).toBe(true)
    expect(shop.catalog.current()).not.toBe(before)
    expect(shop.catalog.current()!.byName.has('public\0fresh')).toBe(true)
    await shop.client.query('alter table fresh rename column a to b')
    expect(await shop.catalog.refresh()).toBe(true)
    expect(shop.catalog.current()!.byName.get('public\0fresh')!.columns[0]!.name).toBe('b')
    await shop.client.query('drop table fresh')
    expect(await shop.catalog.refresh()).toBe(true)
  })

  test('an unknown relation asks for a refresh; one that this connection made may then be used', () => {
    const analyzer = createAnalyzer({ searchPath: ['pg_catalog', 'public'], catalog: () => shop.snapshot })
    expect(analyzer.analyze('select * from not_there')).toMatchObject({ ok: true, unknownRelation: true })
    const own = analyzer.analyze('select * from not_there', new Set(['not_there']))
    expect(own).toMatchObject({ ok: true, unknownRelation: true })
    expect(analyzer.analyze('select * from not_there')).toMatchObject({ unknownRelation: true })
    if (own.ok) expect(shop.plan.judge(own.statements[0]!).ok).toBe(true)
  })

  test('MK5: a function of users behind a harmless name is seen', () => {
    expect(statement("select lower('x')").action.functions).toEqual([{ name: 'lower', schema: 'public' }])
    expect(statement("select upper('x')").action.functions).toEqual([])
    expect(statement('select 1 @@@ 2').action.functions).toEqual([{ name: 'operator @@@', schema: 'public' }])
  })

  test('MK16: names are resolved under the pinned search_path', () => {
    expect(statement('select * from customers').action.reads).toEqual([{ name: 'customers', schema: 'public' }])
    expect(statement('select * from pg_class').action.reads).toEqual([{ name: 'pg_class', schema: 'pg_catalog' }])
  })
})
