import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { attacks, useful } from '../protocols/postgres/sql/corpus.ts'
import { dataRow, leaks, openShop, run, type Shop } from '../protocols/postgres/sql/shop.ts'

/**
 * A real server is the judge: what is accepted runs there, its real rows pass through the masks, and no canary may be
 * found in what comes out, in text or binary, by either of the two locks alone.
 */
let shop: Shop
beforeAll(async () => {
  shop = await openShop()
})
afterAll(() => shop?.close())

interface Outcome {
  readonly refused: string | null
  readonly leaked: readonly string[]
  readonly fault: string | null
}

async function attempt(sql: string): Promise<Outcome> {
  const analysis = shop.analyzer.analyze(sql)
  if (!analysis.ok) return { refused: analysis.message, leaked: [], fault: null }
  const judgements = analysis.statements.map(s =>
    s.refusal === null ? shop.plan.judge(s) : { ok: false as const, reason: s.refusal },
  )
  const bad = judgements.find(j => !j.ok)
  if (bad !== undefined && !bad.ok) return { refused: bad.reason, leaked: [], fault: null }
  const judgement = judgements[0]!
  if (!judgement.ok || judgements.length !== 1) throw new Error('one statement a row')
  if (/^copy/i.test(sql)) return { refused: null, leaked: await copied(sql), fault: null }
  const leaked: string[] = []
  for (const binary of [false, true]) {
    await shop.client.query('begin')
    try {
      const answer = await run(shop.client, sql, binary)
      const formats = binary ? [1] : []
      const both = shop.plan.rows(judgement, answer.fields, formats)
      const byServer = shop.plan.rows({ ...judgement, outputs: null }, answer.fields, formats)
      const byTree = shop.plan.rows(
        judgement,
        answer.fields.map(f => ({ ...f, tableOid: 0, attnum: 0 })),
        formats,
      )
      for (const row of answer.rows) {
        const body = dataRow(row)
        leaked.push(...leaks(both?.rewrite(body) ?? body), ...leaks(byServer?.rewrite(body) ?? body))
        if (judgement.outputs !== null) leaked.push(...leaks(byTree?.rewrite(body) ?? body))
      }
    } catch (fault) {
      if (binary && /no binary output function/.test(String(fault))) continue
      return { refused: null, leaked, fault: String(fault) }
    } finally {
      await shop.client.query('rollback')
    }
  }
  return { refused: null, leaked, fault: null }
}

/** What COPY would send is what the query, or the columns, would show. */
async function copied(sql: string): Promise<string[]> {
  const inner =
    /^copy \((.*)\) to/i.exec(sql)?.[1] ??
    sql.replace(/^copy (\w+)(?: \((.*?)\))? to.*/i, (_, t, c) => `select ${c ?? '*'} from ${t}`)
  const answer = await run(shop.client, inner, false)
  return answer.rows.flatMap(row => leaks(dataRow(row)))
}

describe('on a database with masked columns', () => {
  test.each(useful)('runs and shows no canary: %s', async sql => {
    expect(await attempt(sql)).toEqual({ refused: null, leaked: [], fault: null })
  })

  test.each(attacks.map(a => [a.id, a.sql] as const))('%s: refused, and nothing leaks: %s', async (_id, sql) => {
    const outcome = await attempt(sql)
    expect(outcome.leaked).toEqual([])
    expect(outcome.refused ?? outcome.fault).not.toBeNull()
  })
})
