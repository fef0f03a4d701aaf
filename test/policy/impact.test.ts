import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canonical, type Json } from '../../src/canonical.ts'
import { blocksOf, bytesOfFiles, linesOf } from '../../src/policy/impact/blocks.ts'
import { differences } from '../../src/policy/impact/compare.ts'
import { readEvent } from '../../src/policy/impact/events.ts'
import { Groups } from '../../src/policy/impact/groups.ts'
import { computeImpact, type ImpactReport } from '../../src/policy/impact/impact.ts'
import { type Candidate, candidateOf } from '../../src/policy/impact/revision.ts'
import { exceeded, readThresholds } from '../../src/policy/impact/threshold.ts'
import type { Input, Point } from '../../src/policy/points.ts'
import { accessInput, actionInput, adminInput, engineer, now, rawBundle, shop } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-impact-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** An entry of the log as OPA writes one. */
function event(point: Point, input: unknown, id: string, more: object = {}): string {
  return JSON.stringify({
    labels: { app: 'sallyport' },
    decision_id: id,
    path: `sallyport/${point}/result`,
    input,
    timestamp: new Date(now).toISOString(),
    ...more,
  })
}

async function* bytes(lines: readonly string[]): AsyncGenerator<Uint8Array> {
  yield Buffer.from(lines.join('\n'))
}

/** A revision whose points are modules of this file; every rule of theirs that is named is declared. */
async function candidate(
  name: string,
  modules: Readonly<Record<string, string>>,
  needs: string[] = [],
): Promise<Candidate> {
  const bundle = await rawBundle(modules)
  const ids = Object.values(modules).flatMap(text =>
    [...text.matchAll(/"rule": "([a-z.-]+)"/g)].map(found => found[1]!),
  )
  const rules = Object.fromEntries(ids.map((id, i) => [id, { file: 'action/action.rego', line: 10 + i }]))
  const meta = { ...bundle.meta, needs, rules: { ...bundle.meta.rules, ...rules } }
  return candidateOf({ name, commit: name.padEnd(40, '0') }, { ...bundle, meta })
}

const bob = { ...engineer, id: 'sub_bob', name: 'Bob' }
const action = (deny: string) => ({
  action: `package sallyport.action
result := {"effect": "deny", "reasons": deny} if count(deny) > 0
result := {"effect": "allow", "reasons": []} if count(deny) == 0
deny contains {"rule": "action.verb", "message": "readers read"} if input.action.verb != "read"
${deny}`,
})
const noOrders = action(`deny contains {"rule": "action.no-orders", "message": "the orders are closed"} if {
  some relation in input.action.reads
  relation.name == "orders"
}`)
const masking = (kind: string, column: string) => ({
  masking: `package sallyport.masking
result := {"rules": {{"rule": "masking.phone", "match": {"schema": "public", "table": "customers", "column": "${column}"}, "transform": {"kind": "${kind}"}}}}`,
})
const asking = (quorum: number, max_s: number) => ({
  access: `package sallyport.access
result := {"effect": "ask", "reasons": [{"rule": "access.dba", "message": "needs a word"}], "grant": {"max_s": ${max_s}},
  "approval": {"stages": [{"approvers": ["dbas"], "quorum": ${quorum}, "channel": "c"}], "expires_s": 60}}`,
})
let base: Candidate
let head: Candidate

beforeAll(async () => {
  base = await candidate('base', action(''))
  head = await candidate('head', noOrders)
})

const orders = (i: number) => ({
  ...actionInput({ reads: [{ name: i % 2 === 0 ? 'orders' : 'customers', schema: 'public' }], facts: { n: i } }),
  subject: i % 3 === 0 ? bob : engineer,
})

function impactOf(
  lines: readonly string[],
  change: Partial<Parameters<typeof computeImpact>[0]> = {},
): Promise<ImpactReport> {
  return computeImpact({ base, head, log: bytes(lines), threads: 0, ...change })
}

describe('impact of a change', () => {
  test('says who is newly denied, by which rule at which place, and how often', async () => {
    const report = await impactOf(Array.from({ length: 60 }, (_, i) => event('action', orders(i), `dec_${i}`)))
    expect(report).toMatchObject({ read: 60, judged: 60, same: 30, left: 0, identical: false })
    expect(report.changes.denied).toBe(30)
    expect(report.groups.map(g => [g.subject?.name, g.resource, g.role, g.count])).toEqual([
      ['Ada', 'shop-db', 'reader', 20],
      ['Bob', 'shop-db', 'reader', 10],
    ])
    const [ada] = report.groups
    expect(ada).toMatchObject({ change: 'denied', point: 'action', before: { effect: 'allow', reasons: [] } })
    expect(ada!.after.reasons[0]).toMatchObject({ rule: 'action.no-orders', message: 'the orders are closed' })
    expect(ada!.after.reasons[0]!.at).toMatch(/^action\/action\.rego:\d+@head0+$/)
    expect(ada!.examples).toEqual(['dec_10', 'dec_14', 'dec_16'])
  })

  test('the other way round the same people are newly allowed, and the rule that denied them is named', async () => {
    const report = await impactOf([event('action', orders(0), 'dec_0')], { base: head, head: base })
    expect(report.changes).toMatchObject({ allowed: 1, denied: 0 })
    expect(report.groups[0]!.before.reasons[0]!.rule).toBe('action.no-orders')
  })

  test('threads come to the same report as one', async () => {
    const lines = Array.from({ length: 5000 }, (_, i) =>
      event('action', orders(i), `dec_${String(i).padStart(4, '0')}`),
    )
    const loader = pathToFileURL(join(import.meta.dirname, '../support/typescript.js')).href
    const one = await impactOf(lines)
    const two = await impactOf(lines, { threads: 2, execArgv: ['--import', loader] })
    expect(two).toEqual(one)
    expect(two.changes.denied).toBe(2500)
  })

  test('masking, retention and terms that change are said in words', async () => {
    const before = await candidate('before', { ...masking('redact', 'phone'), ...asking(1, 3600) })
    const after = await candidate('after', {
      ...masking('null', 'phone'),
      ...asking(1, 600),
      retention: 'package sallyport.retention\nresult := {"keep_s": 60, "legal_hold": false}',
    })
    const masked = { resource: shop, role: 'reader', subject: engineer }
    const kept = { class: 'recording', recording: null }
    const lines = [
      event('masking', masked, 'dec_1'),
      event('access', accessInput(), 'dec_2'),
      event('retention', kept, 'dec_3'),
    ]
    const report = await impactOf(lines, { base: before, head: after })
    expect(report.changes).toMatchObject({ masking: 1, terms: 1, allowed: 1 }) // retention of the other had no answer
    expect(report.groups.map(group => [group.change, group.details])).toEqual(
      expect.arrayContaining([
        [
          'masking',
          [
            '- rules masking.phone: redact public.customers.phone',
            '+ rules masking.phone: null public.customers.phone',
          ],
        ],
        ['terms', ['grant.max_s: 3600 → 600']],
      ]),
    )
    expect(differences({ keep_s: 5, legal_hold: false }, { keep_s: 7, legal_hold: false })).toEqual(['keep_s: 5 → 7'])
    const stages = (quorum: number) => ({ stages: [{ approvers: ['dbas'], quorum, channel: 'c' }] })
    expect(differences(stages(1), stages(2))).toEqual(['stages[0].quorum: 1 → 2'])
  })

  test('an ask whose votes satisfy the terms counts as allowed; with terms that ask for more it is asked again', async () => {
    const vote = { answer: 'approve', approver: 'sub_dba', at_ms: now, groups: ['dbas'], stage: 0 }
    const voted = accessInput({ votes: [vote], stage: 'ticket' })
    const [one, two] = [await candidate('one', asking(1, 60)), await candidate('two', asking(2, 60))]
    const report = await impactOf([event('access', voted, 'dec_1')], { base: one, head: two })
    expect(report.changes.asked).toBe(1)
    expect(report.groups[0]).toMatchObject({ before: { effect: 'allow' }, after: { code: 'votes_unsatisfied' } })
  })

  test('a token whose scopes never covered the call is denied before and after, whatever policy says', async () => {
    const scoped = { ...engineer, token: { id: 'tok_1', scopes: ['admin:me'] } }
    const report = await impactOf([event('admin', adminInput('grants.list', scoped), 'dec_1')])
    expect(report).toMatchObject({ judged: 1, same: 1 })
  })

  test('what cannot be judged again is counted, and never taken for unchanged', async () => {
    const erased = orders(0) as Partial<Input<'action'>>
    const { subject: _, ...nobody } = erased
    const lines = [
      'no json',
      '[]',
      event('action', null, 'dec_1'),
      event('action', nobody, 'dec_2', { erased: ['/input/subject'] }),
      event('nowhere' as Point, {}, 'dec_3'),
      event('action', { ...orders(0), subject: { ...bob, email: '[masked]' } }, 'dec_4', {
        masked: ['/input/subject/email'],
      }),
      event('action', orders(0), 'dec_5').replace(
        '"facts":{',
        `"facts":{"deep":${'['.repeat(50_000)}${']'.repeat(50_000)},`,
      ),
      '['.repeat(1_000_000),
    ]
    const report = await impactOf(lines)
    expect(report).toMatchObject({ read: 8, judged: 1, partial: 1, same: 0 })
    expect(report.skipped).toEqual({ unreadable: 4, not_recorded: 1, misfit: 2 })
    expect(report.changes.denied).toBe(1)
  })

  test('a revision that wants the time of an action gets that of the recorded decision', async () => {
    const noon = action(
      'deny contains {"rule": "action.noon", "message": "not at noon"} if input.time.minute_of_day == 720',
    )
    const timed = await candidate('timed', noon, ['time'])
    const report = await impactOf([event('action', orders(1), 'dec_1')], { head: timed })
    expect(report.groups[0]?.after.reasons[0]?.rule).toBe('action.noon')
  })

  test('the same bundle is said to be the same', async () => {
    const report = await impactOf([event('action', orders(0), 'dec_0')], { head: base })
    expect(report.identical).toBe(true)
    expect(exceeded(report, readThresholds('any:0'))).toEqual([])
  })
})

describe('bounds', () => {
  test('groups beyond the bound are counted, not kept', async () => {
    const lines = Array.from({ length: 50 }, (_, i) =>
      event('action', { ...orders(0), subject: { ...engineer, id: `sub_${i}` } }, `dec_${i}`),
    )
    const report = await impactOf(lines, { groups: 10 })
    expect([report.changes.denied, report.groups.length, report.left]).toEqual([50, 10, 40])
  })

  test('a block ends at a line, whatever pieces the bytes come in', async () => {
    const lines = Array.from({ length: 3000 }, (_, i) => `${i} ${'ä'.repeat(i % 400)}`)
    const whole = Buffer.from(lines.join('\n'))
    async function* pieces() {
      for (let at = 0; at < whole.length; at += 1009) yield whole.subarray(at, at + 1009)
    }
    const read: string[] = []
    for await (const block of blocksOf(pieces())) read.push(...linesOf(block))
    expect(read).toEqual(lines)
  })

  test('a line without end is refused', async () => {
    async function* endless() {
      for (;;) yield Buffer.alloc(1 << 20, 'x')
    }
    await expect(last(blocksOf(endless()))).rejects.toThrow('has more than')
  })

  test('files are read one after the other, packed or not; one that is not there is said', async () => {
    const [plain, packed] = [join(folder, 'a.jsonl'), join(folder, 'b.jsonl.gz')]
    writeFileSync(plain, 'one\ntwo')
    writeFileSync(packed, gzipSync('three\n'))
    const read: string[] = []
    for await (const block of blocksOf(bytesOfFiles([plain, packed]))) read.push(...linesOf(block))
    expect(read).toEqual(['one', 'two', 'three'])
    await expect(last(bytesOfFiles([join(folder, 'none')]))).rejects.toThrow('there is no such file')
  })

  test('two halves that found the same are one group', () => {
    const groups = new Groups(10)
    const difference = { change: 'denied' as const, before: side('allow'), after: side('deny'), details: [] }
    const party = { subject: { id: 'sub_a', name: 'A' }, resource: 'db', role: 'reader' }
    for (const at_ms of [5, 3, 9]) groups.add({ id: `dec_${at_ms}`, point: 'action', at_ms }, party, difference)
    expect(groups.list()).toHaveLength(1)
    expect(groups.list()[0]).toMatchObject({
      count: 3,
      first_at_ms: 3,
      last_at_ms: 9,
      examples: ['dec_3', 'dec_5', 'dec_9'],
    })
  })
})

describe('thresholds', () => {
  test('more than a threshold fails, as many do not', async () => {
    const report = await impactOf([event('action', orders(0), 'dec_0'), event('action', orders(2), 'dec_2')])
    expect(exceeded(report, readThresholds('denied:2,allowed:0'))).toEqual([])
    expect(exceeded(report, readThresholds('denied:1'))).toEqual(['denied: 2, and at most 1 may be'])
    expect(exceeded(report, readThresholds('any:0'))).toHaveLength(1)
    expect(exceeded(report, new Map())).toEqual([])
  })

  test('a report about nothing passes no threshold', async () => {
    expect(exceeded(await impactOf([]), readThresholds('denied:1000'))).toHaveLength(1)
  })

  test.each(['denied', 'denied:', 'denied:-1', 'everything:1', '', 'denied:1;allowed:2'])(
    '%s is no threshold',
    text => {
      expect(() => readThresholds(text)).toThrow('is no threshold')
    },
  )
})

test('an entry that this program exports is read back as it was judged', () => {
  const input = orders(4)
  const read = readEvent(event('action', JSON.parse(canonical(input as unknown as Json)), 'dec_4'))
  expect(read).toMatchObject({ id: 'dec_4', point: 'action', at_ms: now, partial: false, input })
})

async function last<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  let found: T | undefined
  for await (const item of items) found = item
  return found
}

function side(effect: 'allow' | 'deny') {
  return { effect, code: 'policy' as const, reasons: [] }
}
