import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import { textOf } from '../../src/recording/event-text.ts'
import type { Journal } from '../../src/recording/journal.ts'
import type { Played } from '../../src/recording/part-reader.ts'
import { Reader } from '../../src/recording/reader.ts'
import type { SessionFacts } from '../../src/recording/recorder.ts'
import { ReplayDoor } from '../../src/recording/replay-door.ts'
import { Retention } from '../../src/recording/retention.ts'
import { TextIndex } from '../../src/recording/text-index.ts'
import { excerptOf, searchTexts } from '../../src/recording/text-search.ts'
import { GivenEngine } from './decisions.ts'
import { createWorld, type RecordingWorld, sessionFacts, until } from './world.ts'

const hostile = `<script>alert(1)</script> \u001b]52;c;x\u0007 \0 %_\\ ' " ): drop table`
let world: RecordingWorld
let texts: TextIndex
let journal: Journal | undefined
const all = async () => true

beforeAll(async () => {
  world = await createWorld()
  const { store, identity, originals } = world
  const reader = new Reader({
    database: world.replay.database,
    store,
    identities: [identity],
    originals_identities: [originals.identity],
  })
  texts = new TextIndex({ database: world.replay.database, reader, process_id: world.replay.process_id })
})
afterAll(() => world[Symbol.asyncDispose]())

async function recorded(events: readonly object[], more: Partial<SessionFacts> = {}): Promise<string> {
  const facts = sessionFacts(more)
  journal ??= await world.journal()
  const recorder = await journal.open(facts)
  for (const { kind = 'statement', ...body } of events as { kind?: string }[])
    recorder.append([{ conn: 'con_1', kind, body }])
  if (facts.settings['originals'] === 'sealed')
    recorder.originals!.append([{ conn: 'con_1', kind: 'input', body: { text: 'topsecretoriginal' } }])
  await recorder.close('done')
  await until(() => journal!.pending === 0)
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  return facts.session_id
}
const find = (text: string, more: object = {}) => searchTexts(world.replay.database, { text, limit: 25, ...more }, all)
const sessionsOf = async (text: string, more: object = {}) =>
  (await find(text, more)).hits.map(hit => hit.recording.session_id)

describe('what sessions said', () => {
  test('is found by all of its words, the last from its beginning, once the recording is sealed', async () => {
    const session = await recorded([
      { text: 'select total from Orders where id = 4711' },
      { kind: 'error', message: 'permission denied for relation payroll' },
      { kind: 'exec', command: 'cat /etc/shadow' },
    ])
    expect(await texts.run()).toBe(1)
    for (const words of ['orders', 'ORDERS 4711', 'total ord', 'payroll', 'permission pay', '/etc/shadow', 'etc sha'])
      expect(await sessionsOf(words), words).toEqual([session])
    for (const words of ['orders payroll', 'ord total', 'hadow']) expect(await sessionsOf(words), words).toEqual([])
    const { hits } = await find('payroll')
    expect(hits[0]).toMatchObject({
      kind: 'error',
      conn: 'con_1',
      seq: 2,
      excerpt: 'permission denied for relation payroll',
    })
    expect(hits[0]!.at_ms).toBeGreaterThan(Date.now() - 60_000)
    expect(await texts.run()).toBe(0)
  })

  test('MK17: results, bytes and the layer of originals are not in it', async () => {
    const settings = { level: 'full', results: 'all', head_rows: 0, strict: false, originals: 'sealed' } as const
    await recorded(
      [
        {
          text: 'select x1marker',
          columns: ['canarycolumn'],
          values: [['canaryvalue']],
          data: Buffer.from('canarybytes'),
        },
      ],
      { settings },
    )
    await texts.run()
    expect(await sessionsOf('x1marker')).toHaveLength(1)
    for (const word of ['canarycolumn', 'canaryvalue', 'canarybytes', 'topsecretoriginal'])
      expect(await sessionsOf(word), word).toEqual([])
    const rows = await world.test.database.sql<
      { n: number }[]
    >`select count(*)::int as n from recording_texts where text ~ 'canary|topsecret' or words::text ~ 'canary|topsecret'`
    expect(rows[0]!.n).toBe(0)
  })

  test('RE6: hostile text is kept as text, and a hostile question finds or is refused, and does nothing else', async () => {
    const session = await recorded([
      {
        text: hostile,
        deep: { a: { b: { c: { d: { e: 'toodeepword' } } } } },
        long: `${'y'.repeat(100_000)} behindtheend`,
      },
    ])
    await texts.run()
    expect(await sessionsOf('drop table')).toContain(session)
    expect(await sessionsOf('behindtheend')).toEqual([])
    expect(await sessionsOf('toodeepword')).toEqual([])
    for (const text of [
      "' & !drop",
      'drop:*|table',
      '\\',
      "a' || b",
      '((((',
      '!',
      '   ',
      'x'.repeat(5_000),
      '\u{1f600}',
      '\ud800',
      '%',
      "'; delete from recording_texts; --",
    ])
      await find(text).catch(error => expect(error).toMatchObject({ code: 'bad_request' }))
    expect(await sessionsOf('drop table')).toContain(session)
  })

  test('is filtered by session, subject, resource and time, and comes in pages', async () => {
    const subject_id = newId('sub')
    const sessions = [
      await recorded([{ text: 'pagedword 1' }, { text: 'pagedword 2' }], { subject_id }),
      await recorded([{ text: 'pagedword 3' }], { resource: 'other-db' }),
    ]
    await texts.run()
    expect(await sessionsOf('pagedword')).toEqual([sessions[1], sessions[0], sessions[0]])
    expect(await sessionsOf('pagedword', { subject_id })).toEqual([sessions[0], sessions[0]])
    expect(await sessionsOf('pagedword', { resource: 'other-db' })).toEqual([sessions[1]])
    expect(await sessionsOf('pagedword', { session: sessions[1] })).toEqual([sessions[1]])
    expect(await sessionsOf('pagedword', { to_ms: Date.now() - 3_600_000 })).toEqual([])
    const first = await find('pagedword', { limit: 2 })
    expect(first.next).not.toBeNull()
    const rest = await find('pagedword', { limit: 2, before: first.next })
    expect([...first.hits, ...rest.hits].map(hit => hit.excerpt)).toEqual(['pagedword 3', 'pagedword 2', 'pagedword 1'])
    expect(rest.next).toBeNull()
  })

  test('RE5: of a recording that the caller may not open nothing is found; what is shown stands in the log before it is shown', async () => {
    const mine = newId('sub')
    const own = await recorded([{ text: 'sharedword mine' }], { subject_id: mine })
    await recorded([{ text: 'sharedword theirs' }])
    await texts.run()
    const engine = new GivenEngine()
    engine.answer = (_, input) => ({
      effect: (input as { own: boolean }).own ? 'allow' : 'deny',
      view: 'masked',
      reasons: [],
    })
    const stored: string[] = []
    const door = new ReplayDoor({
      ...world.replay,
      engine,
      decisions: { insert: async (_, decision) => void stored.push(decision.id) },
      subjectFacts: async id => ({
        id,
        kind: 'person',
        issuer: '',
        subject: '',
        name: 'Mia',
        email: null,
        groups: [],
        groups_at_ms: 0,
        claims: {},
        on_behalf_of: null,
        token: null,
      }),
      tokenFacts: async () => null,
      now: Date.now,
      zone: 'UTC',
      opensOriginals: false,
    })
    const finding = door.finding({
      method: 'GET',
      path: '/search',
      subject_id: mine,
      on_behalf_of: null,
      token: null,
      via: 'web',
    })
    const { hits } = await searchTexts(world.replay.database, { text: 'sharedword', limit: 25 }, finding.sees)
    expect(hits.map(hit => hit.recording.session_id)).toEqual([own])
    expect(engine.asked).toMatchObject([{ input: { verb: 'open', view: 'masked' } }, { input: { verb: 'open' } }])
    await finding.shown(
      'sharedword',
      hits.map(hit => hit.recording.id),
    )
    expect(stored).toHaveLength(1)
    const [event] = await world.test.database.sql<
      { body: string; subject_id: string }[]
    >`select body, subject_id from audit_inbox where type = 'replay.searched'`
    expect([event!.subject_id, JSON.parse(event!.body)]).toEqual([
      mine,
      expect.objectContaining({ text: 'sharedword', decisions: stored, refused: 1 }),
    ])
  })

  test('RE5: what a caller may not open leads to no next page, however much of it holds the words; too much is refused as too wide', async () => {
    const mine = newId('sub')
    await recorded([{ text: 'oftenword mine' }, { text: 'oftenword mine too' }], { subject_id: mine })
    for (let i = 0; i < 3; i++) await recorded(Array.from({ length: 250 }, (_, n) => ({ text: `oftenword ${n}` })))
    await texts.run()
    const asked: string[] = []
    const sees = async ({ id, subject_id }: { id: string; subject_id: string }) => {
      asked.push(id)
      return subject_id === mine
    }
    const search = (limit: number, most = 100) =>
      searchTexts(world.replay.database, { text: 'oftenword', limit }, sees, { asked: most, ms: 60_000 })
    expect((await search(1)).next).not.toBeNull()
    const page = await search(2)
    expect([page.hits.map(hit => hit.excerpt), page.next]).toEqual([['oftenword mine too', 'oftenword mine'], null])
    asked.length = 0
    expect(await searchTexts(world.replay.database, { text: 'oftenword', limit: 5 }, async () => false)).toEqual({
      hits: [],
      next: null,
    })
    await expect(search(2, 3)).rejects.toMatchObject({
      code: 'bad_request',
      remedy: expect.stringContaining('narrow it down'),
    })
    expect(asked).toHaveLength(3)
  })

  test('RT1: goes with its recording, in the transaction that destroys the keys, and is not written again', async () => {
    const session = await recorded([{ text: 'doomedword' }])
    await texts.run()
    expect(await sessionsOf('doomedword')).toEqual([session])
    await world.test.database
      .sql`update recordings set sealed_at = now() - interval '1 year' where session_id = ${session}`
    const engine = new GivenEngine()
    engine.answer = () => ({ keep_s: 86_400, legal_hold: false })
    const retention = new Retention({
      ...world.control,
      store: world.store,
      engine,
      decisions: { insert: async () => {} },
      onStep: step => {
        if (step === 'keys') throw new Error('killed')
      },
    })
    await retention.sweep().catch(() => {})
    const [left] = await world.test.database.sql<
      { n: number }[]
    >`select count(*)::int as n from recording_texts t join recordings r on r.id = t.recording_id where r.session_id = ${session}`
    expect(left!.n).toBe(0)
    expect(await sessionsOf('doomedword')).toEqual([])
    await texts.run()
    expect(await sessionsOf('doomedword')).toEqual([])
  })

  test('a recording that does not verify is found as far as it does, and tried again later', async () => {
    const session = await recorded([{ text: 'brokenword' }])
    await world.test.database
      .sql`update recording_segments set hash = repeat('0', 64) where recording_id = (select id from recordings where session_id = ${session})`
    await texts.run()
    expect(await sessionsOf('brokenword')).toEqual([])
    const [row] = await world.test.database.sql<{ problem: string; seal_hash: string | null; later: boolean }[]>`
      select problem, i.seal_hash, claimed_until > now() + interval '50 minutes' as later from recording_indexes i join recordings r on r.id = recording_id where session_id = ${session}`
    expect(row).toMatchObject({ problem: expect.stringContaining('SHA-256'), seal_hash: null, later: true })
  })

  test('no other role reads it: control deletes it unread, a gateway does neither', async () => {
    const reads = (side: { database: { sql: typeof world.replay.database.sql } }) =>
      side.database.sql`select text from recording_texts limit 1`
    await expect(reads(world.control)).rejects.toMatchObject({ code: '42501' })
    await expect(reads(world.gateway)).rejects.toMatchObject({ code: '42501' })
    await expect(world.gateway.database.sql`delete from recording_texts`).rejects.toMatchObject({ code: '42501' })
  })

  test('an excerpt is what stands around the word, and bounded', () => {
    expect(excerptOf(`${'a '.repeat(500)}needle${' b'.repeat(500)}`, 'needle')).toMatch(/^….*needle.*…$/)
    expect(excerptOf('short needle', 'NEEDLE')).toBe('short needle')
    const event = { part: 1, at_us: 5_000_000, t: 1, conn: 'c', seq: 1, kind: 'x', n: 5, flag: true } as Played
    expect(textOf(event)).toBeUndefined()
  })
})
