import { execFile } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AuditDeps, auditRoutes } from '../../src/api/audit.ts'
import type { Api } from '../../src/api/deps.ts'
import { buildServer } from '../../src/api/server.ts'
import { CheckpointCopy } from '../../src/audit/copy.ts'
import { leafHash } from '../../src/audit/merkle.ts'
import { openCheckpoint, parseVkey } from '../../src/audit/note.ts'
import { Sequencer } from '../../src/audit/sequencer.ts'
import { entryBundle } from '../../src/audit/tiles.ts'
import { verifyProof } from '../../src/evidence/verify.ts'
import { verifyConsistencyFile } from '../../src/evidence/verify-consistency.ts'
import { compileWith, createWorld, type World } from '../approvals/world.ts'
import { fixedKey, origin, silent } from './support.ts'

let world: World
let app: Api
let sequencer: Sequencer
let ids: string[]

beforeAll(async () => {
  world = await createWorld()
  await world.activate(await compileWith())
  const people = { ava: await world.person('ava', ['auditors']), erin: await world.person('erin', ['engineers']) }
  const { ground } = world
  const copy = new CheckpointCopy(join(mkdtempSync(join(tmpdir(), 'sallyport-audit-')), 'copy'))
  sequencer = new Sequencer({
    database: ground.database,
    url: world.test.url,
    key: fixedKey(),
    origin,
    copy,
    logger: silent,
  })
  ids = await world.db.transaction(async tx => {
    const recorded: string[] = []
    for (let n = 0; n < 300; n++) {
      const event = {
        type: n % 2 ? 'vote.cast' : 'session.opened',
        body: { n },
        resource: 'shop-db',
        subject_id: people.erin.id,
      } as const
      recorded.push(await ground.audit.record(tx, event))
    }
    return recorded
  })
  expect(await sequencer.step()).toBe(300)
  const deps = {
    config: { origin: 'http://127.0.0.1:1', deployment: 'test', zone: 'UTC', control: {}, oidc: {} },
    database: ground.database,
    identity: {
      // who is signed in is another room's affair: here the bearer is the person's name
      authenticate: async ({ bearer }: { bearer?: string }) => {
        const facts = people[bearer as keyof typeof people]
        return facts === undefined ? null : { facts, via: 'cli', credential: 'test' }
      },
    },
    engine: ground.engine,
    decisions: ground.decisionLog,
    now: () => Date.now(),
    ready: () => 'ready',
    log: { vkey: sequencer.vkey },
  } as unknown as AuditDeps
  app = await buildServer(deps, [auditRoutes])
})
afterAll(async () => {
  await app.close()
  await sequencer.release()
  await world.drop()
})

const get = (url: string, bearer = 'ava') => app.inject({ url, headers: { authorization: `Bearer ${bearer}` } })

describe('the audit log over HTTP', () => {
  test('an engineer gets none of it, an auditor all', async () => {
    for (const url of [
      '/api/audit/events',
      '/api/audit/checkpoint',
      `/api/audit/proof/${ids[0]}`,
      '/log/checkpoint',
      '/log/tile/0/000',
    ]) {
      expect((await get(url, 'erin')).json(), url).toMatchObject({
        error: { code: 'policy_denied', rule: 'admin.default' },
      })
      expect((await get(url, 'nobody')).statusCode, url).toBe(401)
      expect((await get(url)).statusCode, url).toBe(200)
    }
  })

  test('events come newest first, filtered, page by page, each once', async () => {
    const seen: number[] = []
    let before = ''
    for (let more = true; more; ) {
      const { items, next } = (await get(`/api/audit/events?type=vote.cast&resource=shop-db&limit=64${before}`)).json()
      seen.push(...items.map((item: { body: { n: number } }) => item.body.n))
      more = next !== null
      before = `&before=${next}`
    }
    expect(seen).toEqual(Array.from({ length: 150 }, (_, i) => 299 - 2 * i))
    const [one] = (await get('/api/audit/events?limit=1&type=vote.cast')).json().items
    expect(one).toMatchObject({ id: ids[299], index: 299, type: 'vote.cast', resource: 'shop-db' })
    expect((await get('/api/audit/events?limit=0')).statusCode).toBe(400)
    expect((await get('/api/audit/events?nonsense=1')).statusCode).toBe(400)
  })

  test('a proof that was fetched verifies offline', async () => {
    const report = verifyProof((await get(`/api/audit/proof/${ids[123]}`)).json(), { vkey: sequencer.vkey })
    expect(report).toMatchObject({ ok: true })
    expect((await get('/api/audit/proof/evt_none')).statusCode).toBe(404)
  })

  test('a consistency proof that was fetched verifies offline; sizes that the log has not are refused', async () => {
    const file = (await get('/api/audit/consistency?from=100&to=300')).json()
    expect(verifyConsistencyFile(file, { vkey: sequencer.vkey })).toMatchObject({ ok: true })
    expect(verifyConsistencyFile((await get('/api/audit/consistency?from=1')).json())).toMatchObject({ ok: true })
    for (const [name, changed] of Object.entries({
      path: { ...file, consistency: file.consistency.slice(1) },
      root: { ...file, from: { ...file.from, root: file.to.root } },
      size: { ...file, from: { ...file.from, size: 101 } },
      note: { ...file, to: { ...file.to, checkpoint: file.to.checkpoint.replace('300', '301') } },
      more: { ...file, more: 1 },
    }))
      expect(verifyConsistencyFile(changed, { vkey: sequencer.vkey }), name).toMatchObject({ ok: false, proved: [] })
    for (const query of ['from=301', 'from=200&to=100', 'from=1&to=301', 'from=-1', ''])
      expect((await get(`/api/audit/consistency?${query}`)).statusCode, query).toBe(400)
    expect((await get('/api/audit/consistency?from=1', 'erin')).statusCode).toBe(403)
  })

  test('checkpoint, tiles and entries are those of tlog-tiles', async () => {
    const note = (await get('/log/checkpoint')).body
    expect(openCheckpoint(note, parseVkey(sequencer.vkey))?.size).toBe(300)
    const full = (await get('/log/tile/0/000')).rawPayload
    const part = (await get('/log/tile/0/001.p/44')).rawPayload
    expect([full.length, part.length]).toEqual([256 * 32, 44 * 32])
    expect((await get('/log/tile/0/001.p/10')).rawPayload).toEqual(part.subarray(0, 320)) // an older partial tile stays readable
    const rows = await world.test.database.sql<{ leaf: string }[]>`select leaf from audit_inbox order by seq offset 256`
    expect(part).toEqual(Buffer.concat(rows.map(row => leafHash(row.leaf))))
    expect((await get('/log/tile/entries/001.p/44')).rawPayload).toEqual(entryBundle(rows.map(row => row.leaf)))
    for (const path of ['0/001', '0/001.p/45', '0/002', '1/001', '0/1', 'entries/001', '../../etc/passwd', '']) {
      expect((await get(`/log/tile/${path}`)).statusCode, path).toBe(404)
    }
  })

  test('Go’s tlog, as a standard client, fetches the running log: every entry, and that it only grew', {
    timeout: 240_000,
  }, async () => {
    const { note: older } = (
      await world.test.database.sql<{ note: string }[]>`select note from audit_checkpoints where size = 300`
    )[0]!
    await world.db.transaction(async tx => {
      for (let n = 0; n < 500; n++) await world.ground.audit.record(tx, { type: 'vote.cast', body: { n } })
    })
    expect(await sequencer.step()).toBe(500)
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    const judge = join(import.meta.dirname, 'judge')
    const input = JSON.stringify({ vkey: sequencer.vkey, notes: [older], records: [], url: `${url}/log`, token: 'ava' })
    const judged = await new Promise<{ out: string; error: string }>(resolve => {
      const child = execFile('go', ['run', '.'], { cwd: judge }, (_, out, error) => resolve({ out, error }))
      child.stdin!.end(input)
    })
    expect(judged).toEqual({ out: '800 records and the consistency 300 to 800 hold\n', error: '' })
  })
})
