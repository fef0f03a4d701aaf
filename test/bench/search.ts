import { openDatabase } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import { searchTexts, type TextQuery } from '../../src/recording/text-search.ts'
import { startBenchDatabase } from './live/database.ts'
import { figure, quantile } from './live/figure.ts'

/**
 * `npm run bench -- search [TEXTS] [RECORDINGS]`: a page of 25 hits out of a million texts of 10,000 recordings, as the replay
 * process asks, through its own database user: words that all texts hold, some, few, old ones, none, and a viewer who may
 * open but their own. Policy is not in it: a decision has a bench of its own (`decide`), and a page asks
 * once for each recording that holds the words, until it is full.
 */
const texts = Number(process.argv[2] ?? 1_000_000)
const recordings = Number(process.argv[3] ?? 10_000)
const runs = 7
const budget_ms = 200

const server = await startBenchDatabase({
  durable: false,
  settings: { shared_buffers: '1GB', max_wal_size: '8GB', maintenance_work_mem: '512MB', autovacuum: 'off' },
})
try {
  const owner = openDatabase({ url: server.url, max: 1, application: 'bench fill' })
  const start = performance.now()
  const ids = Array.from({ length: recordings }, () => newId('rec'))
  await owner.sql`
    insert into recordings (id, session_id, subject_id, subject_name, resource, role, protocol, settings, decision_id, state, seal_hash, sealed_at)
    select id, replace(id, 'rec_', 'ses_'), 'sub_' || (n % 200), 'Ada', 'db-' || (n % 20), 'reader', 'test', '{}', 'dec_x', 'sealed', 'x', now()
    from unnest(${ids}::text[]) with ordinality as t (id, n)`
  await owner.sql`drop index recording_texts_words`
  await owner.sql`
    insert into recording_texts (recording_id, part, seq, at_ms, conn, kind, text, words)
    select (${ids}::text[])[1 + (n * ${recordings}::bigint / ${texts})::int], 1, n, 1700000000000 + n, 'con_1', 'statement', text,
      array_to_tsvector(array(select distinct word from regexp_split_to_table(lower(text), '[^[:alnum:]_]+') word where word <> ''))
    from generate_series(0, ${texts - 1}) n,
      lateral (select 'select column' || (n % 40) || ', total from orders_' || (n % 300) || ' where id = ' || n
        || case when n % 50000 = 7 then ' rareword' else '' end || case when n < 30000 then ' oldword' else '' end
        || case when n % 100 = 3 then ' someword' else '' end as text) said`
  await owner.sql`create index recording_texts_words on recording_texts using gin (words)`
  await owner.sql`vacuum analyze recording_texts`
  figure('search', `filled with ${texts} texts`, (performance.now() - start) / 1000, 's')
  const [size] = await owner.sql<{ whole: string }[]>`select pg_total_relation_size('recording_texts') as whole`
  figure('search', 'a text on disk, indexes and all', Number(size!.whole) / texts, 'B')

  const replay = openDatabase({ url: server.urls.replay, max: 4, application: 'bench' })
  const everything = async () => true
  const pages: [string, Partial<TextQuery> & { text: string }, (row: { subject_id: string }) => Promise<boolean>][] = [
    ['of words that all texts hold', { text: 'select total' }, everything],
    ['of words that one in a hundred holds', { text: 'someword' }, everything],
    ['of words that few hold', { text: 'rareword' }, everything],
    ['of words that only old ones hold', { text: 'oldword' }, everything],
    ['of a beginning of a word', { text: 'orders_1' }, everything],
    ['of two words together', { text: 'orders_17 column17' }, everything],
    ['of words that none holds', { text: 'nowhere' }, everything],
    ['of a subject, by a word of all', { text: 'select', subject_id: 'sub_7' }, everything],
    ['for who may open but their own', { text: 'someword' }, async row => row.subject_id === 'sub_7'],
    ['in the middle, by cursor', { text: 'select', before: Math.floor(texts / 2) }, everything],
  ]
  for (const [name, query, sees] of pages) {
    const times: number[] = []
    let hits = 0
    for (let run = 0; run < runs; run++) {
      const began = performance.now()
      hits = (await searchTexts(replay, { limit: 25, ...query }, sees)).hits.length
      times.push(performance.now() - began)
    }
    const expects = name.includes('none') ? hits === 0 : hits > 0
    if (!expects && texts >= 100_000) throw new Error(`${name}: ${hits} hits`)
    figure('search', `a page ${name}`, quantile(times, 0.5), 'ms', { most: budget_ms })
  }
  await replay.close()
  await owner.close()
} finally {
  await server.stop()
}
