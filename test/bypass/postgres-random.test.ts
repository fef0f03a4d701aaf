import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dataRow, leaks, openShop, run, type Shop } from '../protocols/postgres/sql/shop.ts'

/** Random queries over masked tables, judged by a real server: whatever is accepted and runs shows no canary. */
let shop: Shop
beforeAll(async () => {
  shop = await openShop()
})
afterAll(() => shop?.close())

const pick = (...texts: string[]) => fc.constantFrom(...texts)
const column = pick('ssn', 'ssn', 'id', 'id', 'email', 'x')
const alias = pick('s', 's', 't', 'customers')
const names = pick('', '', '', '(id, x, ssn)', '(x)', '(ssn, id)')

const { query } = fc.letrec<{
  query: string
  select: string
  from: string
  item: string
  value: string
  target: string
}>(tie => ({
  value: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'v', withCrossShrink: true },
    column,
    fc.tuple(alias, column).map(([a, c]) => `${a}.${c}`),
    alias,
    pick('1', "'x'", 'null'),
    fc
      .tuple(pick('upper', 'to_jsonb', 'length', 'count', 'max', 'row_to_json', 'concat', 'coalesce'), tie('value'))
      .map(([f, v]) => `${f}(${v})`),
    fc
      .tuple(tie('value'), pick('::text', " || ''", ' is null', ' collate "C"', " = 'x'"))
      .map(([v, s]) => `(${v})${s}`),
    tie('select').map(q => `(${q} limit 1)`),
    tie('select').map(q => `exists (${q})`),
    tie('select').map(q => `array(${q})`),
  ),
  target: fc.oneof(
    { withCrossShrink: true },
    pick('*', '*', '*', 's.*', 'customers.*'),
    column,
    column,
    fc.tuple(alias, column).map(([a, c]) => `${a}.${c}`),
    fc.tuple(tie('value'), column).map(([v, c]) => `${v} as ${c}`),
  ),
  item: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'i', withCrossShrink: true },
    pick('customers', 'customers', 'customers', 'plain', 'w', 'simple_view', 'other.customers'),
    fc.tuple(pick('customers', 'customers', 'plain', 'w'), alias, names).map(([t, a, n]) => `${t} as ${a}${n}`),
    fc.tuple(pick('', 'lateral '), tie('select'), alias, names).map(([l, q, a, n]) => `${l}(${q}) as ${a}${n}`),
    fc
      .tuple(pick('generate_series(1, 2)', 'jsonb_each(\'{"x":1}\'::jsonb)'), alias, pick('', '(x)', '(a, b)'))
      .map(([f, a, n]) => `${f} as ${a}${n}`),
    fc.tuple(tie('item'), pick('cross join', 'natural join'), tie('item')).map(([a, j, b]) => `(${a} ${j} ${b})`),
    fc
      .tuple(tie('item'), tie('item'), pick('using (id)', 'on true', 'using (ssn)', 'on s.id = t.id'))
      .map(([a, b, on]) => `(${a} join ${b} ${on})`),
    fc.tuple(tie('item'), tie('item'), alias, names).map(([a, b, x, n]) => `(${a} join ${b} on true) as ${x}${n}`),
  ),
  from: fc.array(tie('item'), { minLength: 1, maxLength: 2 }).map(items => items.join(', ')),
  select: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'q', withCrossShrink: true },
    fc
      .tuple(fc.array(tie('target'), { minLength: 1, maxLength: 3 }), tie('from'))
      .map(([t, f]) => `select ${t.join(', ')} from ${f}`),
    fc
      .tuple(
        pick('', 'distinct '),
        fc.array(tie('target'), { minLength: 1, maxLength: 2 }),
        tie('from'),
        pick('where', 'order by', 'group by'),
        tie('value'),
      )
      .map(([d, t, f, k, v]) => `select ${d}${t.join(', ')} from ${f} ${k} ${v}`),
    fc.tuple(names, tie('select'), tie('select')).map(([n, a, b]) => `with w${n} as (${a}) ${b}`),
    fc.tuple(tie('select'), pick('union all', 'except'), tie('select')).map(([a, o, b]) => `(${a}) ${o} (${b})`),
  ),
  query: tie('select').map(q => `select * from (${q}) as top limit 20`),
}))
const top = fc.oneof(
  query,
  query.map(q => q.slice('select * from ('.length, -') as top limit 20'.length)),
)

test('a random query that is accepted shows no canary, by either lock', async () => {
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(top, async sql => {
      const analysis = shop.analyzer.analyze(sql)
      if (!analysis.ok || analysis.statements[0]!.refusal !== null) return
      const judgement = shop.plan.judge(analysis.statements[0]!)
      if (!judgement.ok) return
      await shop.client.query('begin; set local statement_timeout = 500')
      try {
        const answer = await run(shop.client, sql, false)
        accepted++
        const byServer = shop.plan.rows({ ...judgement, outputs: null }, answer.fields, [])
        const blind = answer.fields.map(f => ({ ...f, tableOid: 0, attnum: 0 }))
        const byTree = judgement.outputs === null ? null : shop.plan.rows(judgement, blind, [])
        if (judgement.outputs !== null) expect(judgement.outputs.length, sql).toBe(answer.fields.length)
        for (const row of answer.rows.slice(0, 50)) {
          const body = dataRow(row)
          expect(leaks(byServer?.rewrite(body) ?? body), `by the server: ${sql}`).toEqual([])
          if (judgement.outputs !== null)
            expect(leaks(byTree?.rewrite(body) ?? body), `by the tree: ${sql}`).toEqual([])
        }
      } catch (fault) {
        if (!(fault instanceof Error) || !('severity' in fault)) throw fault
      } finally {
        await shop.client.query('rollback')
      }
    }),
    {
      numRuns: Number(process.env.RANDOM_QUERIES ?? 5000),
      interruptAfterTimeLimit: 15_000,
      markInterruptAsFailure: false,
    },
  )
  expect(accepted).toBeGreaterThan(5)
})
