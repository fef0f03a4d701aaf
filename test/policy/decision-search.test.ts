import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import { dayOf, keptDays } from '../../src/policy/log/decision-days.ts'
import {
  type DecisionFilter,
  type DecisionPlace,
  getDecision,
  readDecisions,
  searchDecisions,
} from '../../src/policy/log/decision-store.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let db: TestDatabase
const day_ms = 86_400_000
const today_ms = Math.floor(Date.now() / day_ms) * day_ms
beforeAll(async () => {
  db = await createTestDatabase()
  for (let i = 2; i <= 60; i++)
    if (i !== 20 && i !== 21) await db.database.sql.unsafe(`select decision_days.make_one('${dateOf(-i)}')`) // a gap of two days
})
afterAll(() => db.drop())

const dateOf = (day: number) => new Date(today_ms + day * day_ms).toISOString().slice(0, 10)

/** A session's id that says when it began. */
function sessionOf(ms: number): string {
  const digits = '0123456789abcdefghjkmnpqrstvwxyz'
  let text = ''
  for (let i = 0, left = ms; i < 10; i++, left = Math.floor(left / 32)) text = digits[left % 32] + text
  return `ses_${text}${newId('ses').slice(14)}`
}

interface Row {
  readonly at_ms: number
  /** When its session began; null: not of a session, and not on an action. */
  readonly began_ms: number | null
  readonly words?: readonly string[]
}

async function store(tag: string, rows: readonly Row[]): Promise<void> {
  const made = rows.map(({ at_ms, began_ms, words = [] }, i) => {
    const session_id = began_ms === null ? null : sessionOf(began_ms)
    const id = `dec_${tag}${String(i).padStart(5, '0')}`
    return { id, at_ms, session_id, day: dayOf(session_id, at_ms), resource: tag, words: [...words].sort().join(' ') }
  })
  const others = made.filter(row => row.session_id === null)
  await db.database
    .sql`insert into decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, resource, words)
    select id, at_ms, 'access', 'allow', 'policy', '', '{}', '{}', '[]', resource, array_to_tsvector(string_to_array(words, ' '))
    from json_to_recordset(${JSON.stringify(others)}::text::json) as r (id text, at_ms bigint, resource text, words text)`
  const actions = made.filter(row => row.session_id !== null)
  await db.database
    .sql`insert into action_decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, resource, session_id, day, words)
    select id, at_ms, 'action', 'allow', 'policy', '', '{}', '{}', '[]', resource, session_id, day, array_to_tsvector(string_to_array(words, ' '))
    from json_to_recordset(${JSON.stringify(actions)}::text::json) as r (id text, at_ms bigint, resource text, session_id text, day date, words text)`
}

/** Page by page, as a person or a program reads on. */
async function pages(filter: DecisionFilter, limit: number): Promise<{ at_ms: number; id: string }[]> {
  const seen: { at_ms: number; id: string }[] = []
  for (let after: DecisionPlace | undefined; ; ) {
    const page = await searchDecisions(db.database, filter, limit, after)
    seen.push(...page.items.map(({ at_ms, id }) => ({ at_ms, id })))
    if (page.next === null) return seen
    after = page.next
  }
}
async function allOldest(filter: DecisionFilter): Promise<number[]> {
  const seen: number[] = []
  for await (const rows of readDecisions(db.database.db, filter)) seen.push(...rows.map(row => row.at_ms))
  return seen
}
const newest = (rows: readonly Row[]) => rows.map(row => row.at_ms).sort((a, b) => b - a)

describe('a search over the days', () => {
  test('finds each decision once and in order: of sessions that go on over midnight, of days without a partition, of both tables', async () => {
    let seed = 7
    const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647
    const rows: Row[] = Array.from({ length: 360 }, (_, i) => {
      if (i % 9 === 0) return { at_ms: Math.floor(today_ms - random() * 70 * day_ms), began_ms: null }
      const began_ms = Math.floor(today_ms + day_ms - random() * 70 * day_ms)
      const lasted = i % 3 === 0 ? random() * 30 * day_ms : random() * 3_600_000
      return { at_ms: Math.floor(began_ms + lasted - (i % 7 === 0 ? 1500 : 0)), began_ms } // some clocks are behind
    })
    await store('mixed', rows)
    for (const limit of [23, 100, 1000])
      expect(
        (await pages({ resource: 'mixed' }, limit)).map(row => row.at_ms),
        `pages of ${limit}`,
      ).toEqual(newest(rows))
    expect(await allOldest({ resource: 'mixed' })).toEqual(newest(rows).reverse())
    const some = { from_ms: today_ms - 40 * day_ms, to_ms: today_ms - 11 * day_ms }
    const within = rows.filter(row => row.at_ms >= some.from_ms && row.at_ms < some.to_ms)
    expect((await pages({ resource: 'mixed', ...some }, 50)).map(row => row.at_ms)).toEqual(newest(within))
    expect(await allOldest({ resource: 'mixed', ...some })).toEqual(newest(within).reverse())
  })

  test('a session of thirty days that still decides comes first, however much the days since then hold', async () => {
    const rows: Row[] = Array.from({ length: 300 }, (_, i) => ({
      at_ms: today_ms - i * 1000,
      began_ms: today_ms - i * 1000,
    }))
    const long = { at_ms: today_ms - 500, began_ms: today_ms - 30 * day_ms }
    await store('long', [...rows, long])
    const [first, second] = (await searchDecisions(db.database, { resource: 'long' }, 100)).items
    expect([first!.at_ms, second!.at_ms]).toEqual([today_ms, long.at_ms])
  })

  test('one decision is found by its id alone, on whatever day its session began', async () => {
    const began = [0, 1, 9, 12, 20, 45, 59, 70].map(days => today_ms - days * day_ms)
    await store(
      'byid',
      began.map(began_ms => ({ at_ms: began_ms, began_ms })),
    )
    for (const [i, began_ms] of began.entries())
      expect((await getDecision(db.database.db, `dec_byid0000${i}`))?.at_ms).toBe(began_ms)
    expect(await getDecision(db.database.db, 'dec_byid00099')).toBeUndefined()
  })

  test('the last moment of a day and the first of the next are each found by their time', async () => {
    const midnight = today_ms - 5 * day_ms
    const rows = [midnight - 1, midnight].flatMap(at_ms => [
      { at_ms, began_ms: at_ms },
      { at_ms, began_ms: null },
    ])
    await store('midnight', rows)
    const at = async (filter: DecisionFilter) =>
      (await pages({ resource: 'midnight', ...filter }, 1)).map(row => row.at_ms - midnight)
    expect(await at({})).toEqual([0, 0, -1, -1])
    expect(await at({ to_ms: midnight })).toEqual([-1, -1])
    expect(await at({ from_ms: midnight })).toEqual([0, 0])
    expect(await at({ from_ms: midnight - 1, to_ms: midnight + 1 })).toEqual([0, 0, -1, -1])
    expect(await at({ from_ms: midnight, to_ms: midnight })).toEqual([])
  })

  test('words that many rows hold, few, and only old ones, are found page by page', async () => {
    const rows: Row[] = Array.from({ length: 400 }, (_, i) => ({
      at_ms: today_ms - i * 3_600_000,
      began_ms: i % 4 === 0 ? null : today_ms - i * 3_600_000,
      words: ['everywhere', ...(i > 380 ? ['elder'] : []), ...(i === 200 ? ['once'] : [])],
    }))
    await store('words', rows)
    const times = async (filter: DecisionFilter, limit: number) => (await pages(filter, limit)).map(row => row.at_ms)
    expect(await times({ text: 'everywhere' }, 90)).toEqual(newest(rows))
    expect(await times({ text: 'elder every' }, 5)).toEqual(newest(rows.slice(381)))
    expect(await times({ text: 'once', resource: 'words' }, 5)).toEqual([rows[200]!.at_ms])
    expect(await allOldest({ text: 'elder' })).toEqual(newest(rows.slice(381)).reverse())
  })

  test('no text of a search is anything but words', async () => {
    await store('hostile', [{ at_ms: today_ms, began_ms: today_ms, words: ['select', 'quote'] }])
    const found = async (text: string) =>
      (await searchDecisions(db.database, { text, resource: 'hostile' }, 10)).items.length
    const hostile = [
      "'",
      "''",
      '\\',
      "\\'",
      "select' | 'x",
      'select & !quote',
      '!select',
      'select:*A',
      "a'::tsquery--",
      '(',
      '<->',
      '%',
      '\u0000',
      '\ud800',
      '*',
      '&|!',
      '﻿',
      '"; drop table decisions',
    ]
    for (const text of hostile)
      expect(await found(text), JSON.stringify(text)).toBe(text.includes('select') && !/x|A/.test(text) ? 1 : 0)
    expect(await found('select quote')).toBe(1)
    expect(await found('SELECT & Quo')).toBe(1)
    expect(await found(`select ${'x '.repeat(5000)}`)).toBe(0)
    expect(await found('z'.repeat(100_000))).toBe(0)
    for (const rule of ["' | 'select", 'a\\', '\u0000', 'x'.repeat(9999)])
      expect((await searchDecisions(db.database, { rule }, 10)).items).toEqual([])
    for (const odd of [
      { subject_id: '\u0000' },
      { resource: "' or true --" },
      { session_id: 'ses_\u0000' },
      { revision: '%' },
      { point: '\u0000' },
    ])
      await expect(searchDecisions(db.database, odd, 10).then(page => page.items)).resolves.toEqual([])
  })

  test('no more than a few searches go on at once, so that one person does not take every connection', async () => {
    const ends: (() => void)[] = []
    const slow = {
      db: { transaction: () => new Promise(resolve => ends.push(() => resolve({ items: [], next: null }))) },
    }
    const search = () => searchDecisions(slow as unknown as Database, {}, 1)
    const asked = Array.from({ length: 20 }, () =>
      search().then(
        () => 'answered',
        error => error.code as string,
      ),
    )
    await Promise.resolve()
    expect(ends).toHaveLength(6)
    for (const end of ends) end()
    const codes = await Promise.all(asked)
    expect(codes.filter(code => code === 'rate_limited')).toHaveLength(14)
    expect((await searchDecisions(db.database, {}, 1)).items.length).toBeLessThanOrEqual(1)
  })

  test('rows whose day has no partition are looked for where the rest lies, and nowhere else', async () => {
    const { days } = await keptDays(db.database.db)
    expect(days).not.toContain(dateOf(-20))
    await store(
      'rest',
      [-20, -21, -400, 300].map(day => ({ at_ms: today_ms + day * day_ms, began_ms: today_ms + day * day_ms })),
    )
    expect((await pages({ resource: 'rest' }, 3)).map(row => (row.at_ms - today_ms) / day_ms)).toEqual([
      300, -20, -21, -400,
    ])
  })
})
