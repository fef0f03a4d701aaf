import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createWorld, type RecordingWorld, sessionFacts, until } from './world.ts'

let world: RecordingWorld
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const rows = (session: string) => world.test.database.sql<{ state: string; seal_hash: string | null; id: string }[]>`
  select id, state, seal_hash from recordings where session_id = ${session}`

describe('a session that is recorded', () => {
  test('is in the store within the cut time, and its spool is let go', async () => {
    const journal = await world.journal()
    const facts = sessionFacts()
    const recorder = await journal.open(facts)
    recorder.append([{ conn: 'con_1', kind: 'statement', body: { text: 'select 1' } }])
    recorder.append([{ conn: 'con_1', kind: 'done', body: { rows: 1 } }])
    await recorder.close('the client left')
    await until(() => journal.pending === 0)
    const segments = await world.test.database
      .sql`select first_seq, last_seq, n, prev from recording_segments where recording_id = ${recorder.recording_id}`
    expect(segments.map(s => [Number(s['first_seq']), Number(s['last_seq']), s['n'], s['prev']])).toEqual([
      [1, 2, 0, ''],
    ])
    expect(await world.sealer.sealDue()).toBe(0)
    world.ended.set(facts.session_id, Date.now())
    expect(await world.sealer.sealDue()).toBe(1)
    expect((await rows(facts.session_id))[0]?.state).toBe('sealed')
    expect((await world.events(facts.session_id)).map(e => e.type)).toEqual(['recording.started', 'recording.sealed'])
    await journal.close()
    expect(readdirSync(join(world.folder, 'spool'))).toEqual([])
  })
})
