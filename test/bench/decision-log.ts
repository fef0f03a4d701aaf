import { sql } from 'drizzle-orm'
import { openDatabase } from '../../src/db/database.ts'
import {
  type DecisionFilter,
  type DecisionPlace,
  getDecision,
  readDecisions,
  searchDecisions,
} from '../../src/policy/log/decision-store.ts'
import { fillLog, shape } from './decision-log/fill.ts'
import { startBenchDatabase } from './live/database.ts'
import { figure, quantile } from './live/figure.ts'

/**
 * `npm run bench -- decision-log [ENTRIES] [DAYS]`: pages of 100 out of a log of 5 million entries over 180 days, nine of
 * ten of them decisions on actions in their partitions of a day, filtered by each thing alone, by several together, by
 * what is rare, by what is old and by what is not there at all; as control asks, through its own database user and row rules.
 */
const entries = Number(process.argv[2] ?? 5_000_000)
const days = Number(process.argv[3] ?? 180)
const runs = 7
const budget_ms = 200

const server = await startBenchDatabase({
  durable: false, // while it is filled; reading is what is measured
  settings: {
    shared_buffers: '2GB',
    max_wal_size: '16GB',
    wal_level: 'minimal',
    max_wal_senders: '0',
    maintenance_work_mem: '512MB',
    checkpoint_timeout: '30min',
    autovacuum: 'off',
  },
})
try {
  const fill = Array.from({ length: 2 }, () => openDatabase({ url: server.url, max: 1, application: 'bench fill' }))
  const owner = fill[0]!
  const start = performance.now()
  const now_ms = Date.now()
  await fillLog(fill, { entries, days, now_ms })
  figure('decision-log', `filled with ${entries} entries`, (performance.now() - start) / 1000, 's')
  const [size] = await owner.sql<{ heap: string; whole: string }[]>`
    select sum(pg_table_size(c.oid)) as heap, sum(pg_total_relation_size(c.oid)) as whole from pg_class c
    where c.relkind = 'r' and (c.relnamespace = 'decision_days'::regnamespace or c.oid = 'decisions'::regclass)`
  figure('decision-log', 'an entry on disk', Number(size!.heap) / entries, 'B')
  figure('decision-log', 'and its indexes', (Number(size!.whole) - Number(size!.heap)) / entries, 'B')

  const control = openDatabase({ url: server.urls.control, max: 4, application: 'bench' })
  const day_ms = 86_400_000
  const old = { from_ms: now_ms - (days - 2) * day_ms, to_ms: now_ms - (days - 5) * day_ms }
  const pages: [string, DecisionFilter, { some?: boolean; after?: DecisionPlace }?][] = [
    ['the newest', {}],
    ['in the middle of the log, by cursor', {}, { after: { at_ms: now_ms - (days / 2) * day_ms, id: 'dec_z' } }],
    ['of a subject', { subject_id: shape.subject(7) }],
    ['of a resource', { resource: shape.resource(3) }],
    ['denied', { effect: 'deny' }],
    ['asked', { effect: 'ask' }],
    ['of a session', { session_id: shape.session(now_ms, days, days - 9, entries) }],
    ['of a revision, the oldest', { revision: '1' }],
    ['of a rule that made many', { rule: 'action.reader-write' }],
    ['of a rule that made few', { rule: 'access.rare' }],
    ['of a rule of the oldest revision', { rule: 'action.old' }],
    ['three days, old', old],
    ['with a word of many', { text: 'customers' }],
    ['with a word of few', { text: 'needle7' }],
    ['with the beginning of most words', { text: 'c' }],
    ['with a word and the beginning of another', { text: 'customers need' }],
    ['of a subject, denied', { subject_id: shape.subject(7), effect: 'deny' }],
    [
      'of a resource, by a rule, in three old days',
      { resource: shape.resource(3), rule: 'action.reader-write', ...old },
    ],
    [
      'of a subject on a resource, with a word',
      { subject_id: shape.subject(7), resource: shape.resource(7), text: 'orders' },
    ],
    ['of a point, denied, of a subject', { point: 'admin', effect: 'deny', subject_id: shape.subject(9) }],
    ['of somebody who is not there', { subject_id: 'sub_none' }, { some: false }],
    ['with a word that nothing holds', { text: 'nowhereatall' }, { some: false }],
  ]
  let slowest = 0
  for (const [what, filter, { some = true, after } = {}] of pages) {
    const took: number[] = []
    for (let run = 0; run < runs; run++) {
      const from = performance.now()
      const { items } = await searchDecisions(control, filter, 100, after)
      took.push(performance.now() - from)
      if (items.length > 0 !== some) throw new Error(`${what}: ${items.length} decisions`)
    }
    slowest = Math.max(slowest, ...took)
    figure('decision-log', `a page ${what}, median`, quantile(took, 0.5), 'ms', { most: budget_ms })
    figure('decision-log', `a page ${what}, slowest of ${runs}`, Math.max(...took), 'ms')
  }
  figure('decision-log', 'the slowest page of all', slowest, 'ms', { most: budget_ms })

  for (const [what, filter] of [
    ['a new', {}],
    ['one of the oldest', old],
  ] as const) {
    const { items } = await searchDecisions(control, { point: 'action', ...filter }, 20)
    const one: number[] = []
    for (const { id } of items) {
      const from = performance.now()
      if ((await getDecision(control.db, id)) === undefined) throw new Error(`${id} is not found`)
      one.push(performance.now() - from)
    }
    figure('decision-log', `${what} decision on an action by its id, median`, quantile(one, 0.5), 'ms')
  }
  const from = performance.now()
  let read = 0
  for await (const rows of readDecisions(control.db, {})) {
    read += rows.length
    if (read >= 100_000) break
  }
  figure('decision-log', 'read for an export', (read / (performance.now() - from)) * 1000, 'entries/s')
  const plan = performance.now()
  await control.db.execute(sql`explain select id from action_decisions where batch is null order by at_ms limit 2000`)
  figure('decision-log', `planned over ${days} partitions`, performance.now() - plan, 'ms')
  await Promise.all([control.close(), ...fill.map(each => each.close())])
} finally {
  await server.stop()
}
