import { spawnSync } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { copyFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cosignedAt, parseWitness } from '../../src/audit/cosignature.ts'
import { leafHash } from '../../src/audit/merkle.ts'
import { openCheckpoint, parseVkey } from '../../src/audit/note.ts'
import type { Place } from '../../src/audit/places/place.ts'
import { publishedCheckpoint } from '../../src/audit/places/published.ts'
import { Publisher } from '../../src/audit/places/publisher.ts'
import { placeStates } from '../../src/audit/places/state.ts'
import { resumeLog } from '../../src/audit/resume.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { Bucket } from '../../src/bucket.ts'
import type { Config } from '../../src/config.ts'
import { openPlaces } from '../../src/evidence/places.ts'
import { startVersitygw } from '../support/versitygw.ts'
import { heldPlace, listener, witness } from './places.ts'
import { backup, fixedKey, type LogWorld, logWorld, origin } from './support.ts'

let world: LogWorld
let data: string
let clock: number
const publishers: Publisher[] = []
beforeEach(async () => {
  world = await logWorld()
  data = mkdtempSync(join(tmpdir(), 'sallyport-places-'))
  clock = 1_795_000_000_000
})
afterEach(async () => {
  for (const each of publishers.splice(0)) await each.close()
  await world.close()
  await rm(data, { recursive: true })
})

function publisherOf(places: readonly Place[]): Publisher {
  const { database, sequencer } = world
  const made = new Publisher({
    database,
    audit: world.writer,
    places,
    vkey: sequencer.vkey,
    process_id: 'prc_carrier',
    now: () => clock,
  })
  publishers.push(made)
  return made
}

/** Publishes when the place's pause is over. */
async function carry(publisher: Publisher): Promise<void> {
  clock += 600_000
  await publisher.run()
}

type Settings = NonNullable<Config['audit']['places']>
const open = (places: Settings) =>
  openPlaces({ data, audit: { copy: world.copy.path, places } } as unknown as Config, { now: () => clock })
const git = (...args: string[]) => {
  const run = spawnSync('git', ['--git-dir', join(data, 'remote.git'), ...args], { encoding: 'utf8' })
  expect(run.stderr).toBe('')
  return run.stdout
}

async function gitPlaces(): Promise<Place[]> {
  spawnSync('git', ['init', '--quiet', '--bare', '--initial-branch=main', join(data, 'remote.git')])
  return open([{ name: 'mirror', kind: 'git', source: join(data, 'remote.git'), folder: 'logs' }])
}

const verify = async (places: readonly Place[]) => {
  const outside = []
  for (const place of places) outside.push((await place.latest!(AbortSignal.timeout(10_000)))!)
  return verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path, outside })
}
const alerts = async () =>
  (
    await world.database.sql<{ body: string }[]>`select body from audit_inbox where type = 'alert.raised' order by seq`
  ).map(row => JSON.parse(row.body) as { what: string; reason: string | null; mended: boolean })

describe('a git repository', () => {
  test('gets each new checkpoint as a commit on top of the last, and nothing where nothing is new', async () => {
    const places = await gitPlaces()
    const publisher = publisherOf(places)
    await world.grow(3)
    await carry(publisher)
    await carry(publisher)
    await world.grow(5)
    await carry(publisher)
    expect(git('log', '--format=%s', 'main').trim().split('\n')).toEqual([
      `${origin}: 8 entries`,
      `${origin}: 3 entries`,
    ])
    const note = git('cat-file', 'blob', 'main:logs/checkpoint')
    expect(openCheckpoint(note, parseVkey(world.sequencer.vkey))?.size).toBe(8)
    expect(await verify(places)).toMatchObject({ ok: true, outside: [{ place: 'mirror', size: 8 }] })
    expect(await placeStates(world.database.sql)).toMatchObject([
      { name: 'mirror', kind: 'git', size: 8, behind_entries: 0, error: null },
    ])
  })

  test('one that cannot be reached is tried again ever later, is behind, and after a minute an alarm; its return is told', async () => {
    const publisher = publisherOf(await open([{ name: 'mirror', kind: 'git', source: join(data, 'remote.git') }]))
    await world.grow(2)
    await carry(publisher)
    const [state] = await placeStates(world.database.sql)
    expect(state).toMatchObject({ size: 0, behind_entries: 2 })
    expect(state?.error).toContain('git: ')
    await publisher.run() // before its pause is over
    expect(await alerts()).toEqual([])
    await world.database.sql`update audit_outside set failing_since = failing_since - interval '61 s'`
    await carry(publisher)
    await carry(publisher)
    expect(await alerts()).toMatchObject([{ what: 'outside place mirror of the audit log', mended: false }])
    await gitPlaces()
    await carry(publisher)
    expect(await alerts()).toMatchObject([{ mended: false }, { mended: true, reason: null }])
    expect((await placeStates(world.database.sql))[0]).toMatchObject({ error: null, failing_s: 0 })
  })

  test('a branch with something that we did not sign gets nothing, and stops nothing', async () => {
    const places = await gitPlaces()
    const publisher = publisherOf(places)
    await world.grow(2)
    await carry(publisher)
    const work = join(data, 'work')
    spawnSync('git', ['clone', '--quiet', join(data, 'remote.git'), work])
    writeFileSync(join(work, 'logs/checkpoint'), 'sallyport/test\n99\nAAAA\n')
    spawnSync('git', ['-c', 'user.name=m', '-c', 'user.email=m@x', '-C', work, 'commit', '--quiet', '-am', 'x'])
    spawnSync('git', ['-C', work, 'push', '--quiet'])
    await world.grow(2)
    await carry(publisher)
    expect((await placeStates(world.database.sql))[0]?.error).toContain('not signed by sallyport/test')
    await world.grow(1)
    expect((await verify(places)).flaws.map(flaw => flaw.kind)).toEqual(['outside_unsigned'])
  })
})

describe('RE4: with a place outside, who owns database, copy and key is found out', () => {
  test('RE4: the whole log rewritten, the copy and the signatures too', async () => {
    const places = [heldPlace('mirror')]
    const publisher = publisherOf(places)
    await world.grow(10)
    await carry(publisher)
    await world.sequencer.release()
    const { sql } = world.database
    await sql`truncate audit_checkpoints, audit_tiles, audit_statements`
    await sql`update audit_state set size = 0`
    await sql`update audit_places set idx = null`
    const rows = await sql<{ id: string; leaf: string }[]>`select id, leaf from audit_inbox order by seq`
    let prev = ''
    for (const { id, leaf } of rows) {
      const forged = leaf.replace(/"prev":"[^"]*"/, `"prev":"${prev}"`).replace('vote.cast', 'vote.lost')
      await sql`update audit_inbox set leaf = ${forged}, type = 'vote.lost' where id = ${id}`
      prev = leafHash(forged).toString('hex')
    }
    await sql`update audit_writers set prev = ${prev}`
    await rm(world.copy.path)
    expect(await world.sequencer.step()).toBe(10)
    expect(await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })).toMatchObject({
      ok: true,
    })

    expect((await verify(places)).flaws).toMatchObject([
      {
        kind: 'log_rewritten',
        message: 'the first 10 entries are not those of the checkpoint that mirror holds: the log was rewritten',
      },
    ])
    await publisher.firstLook()
    await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem).toMatchObject({ code: 'outside' })
    expect(world.sequencer.problem?.message).toContain('mirror: the first 10 entries are not those that were signed')
  })

  test('RE4: an old backup of database and copy is not signed until it is declared; the break is carried outside', async () => {
    const places = [heldPlace('mirror')]
    const publisher = publisherOf(places)
    await world.grow(4)
    await carry(publisher)
    const restore = await backup(world.database)
    await copyFile(world.copy.path, `${world.copy.path}.old`)
    await world.grow(5)
    await carry(publisher)
    await world.sequencer.release()
    await restore()
    await copyFile(`${world.copy.path}.old`, world.copy.path)

    expect((await verify(places)).flaws).toMatchObject([
      { kind: 'log_truncated', message: 'mirror knows of 9 signed entries, the database has 4: the last 5 are gone' },
    ])
    const after = publisherOf(places)
    await after.firstLook()
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem?.message).toContain('9 entries were signed, and the database has 4')
    expect(await alerts()).toMatchObject([{ mended: false }]) // at once

    const there = openCheckpoint(
      (await places[0]!.latest!(AbortSignal.timeout(9000)))!.note,
      parseVkey(world.sequencer.vkey),
    )!
    const resume = (from: number) =>
      resumeLog({
        database: world.database,
        writer: world.writer,
        key: fixedKey(),
        origin,
        copy: world.copy,
        outside: [there],
        from,
        reason: 'the disk died',
      })
    await expect(resume(4)).rejects.toThrow('is for 9 entries, not 4')
    await resume(9)
    await carry(after)
    expect(await world.sequencer.step(), world.sequencer.problem?.message).toBeGreaterThanOrEqual(1)
    await carry(after)
    const said = await places[0]!.latest!(AbortSignal.timeout(9000))
    expect(said?.statements.map(line => line.kind)).toEqual(['break'])
    const report = await verify(places)
    expect(report).toMatchObject({ ok: true, breaks: [{ abandoned: 9, resumed: 4 }] })
    expect(report.outside[0]?.size).toBeGreaterThan(4)
  })

  test('RE3: a removed tail, cut cleanly from the database and from the copy', async () => {
    const places = [heldPlace('mirror')]
    const publisher = publisherOf(places)
    await world.grow(6)
    const restore = await backup(world.database)
    await copyFile(world.copy.path, `${world.copy.path}.old`)
    await world.grow(1)
    await carry(publisher)
    await restore()
    await copyFile(`${world.copy.path}.old`, world.copy.path)
    expect(await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })).toMatchObject({
      ok: true,
      size: 6,
    })
    expect((await verify(places)).flaws).toMatchObject([{ kind: 'log_truncated', at: 7 }])
  })
})

test('a webhook gets a signed post, as often as it is told to at most', async () => {
  let status = 500
  const hook = await listener(() => ({ status }))
  process.env['TEST_HOOK_SECRET'] = 'hush'
  const publisher = publisherOf(
    await open([
      { name: 'hook', kind: 'webhook', url: `${hook.url}/log`, secret: 'env:TEST_HOOK_SECRET', every_s: 30 },
    ]),
  )
  await world.grow(2)
  await publisher.run()
  expect((await placeStates(world.database.sql))[0]?.error).toContain('answered 500')
  status = 204
  await carry(publisher)
  await world.grow(1)
  await publisher.run() // too soon
  expect(hook.sent).toHaveLength(2)
  const { headers, body } = hook.sent[1]!
  const [, at, mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['x-sallyport-signature']))!
  expect(createHmac('sha256', 'hush').update(`${at}.${body}`).digest('hex')).toBe(mac)
  const said = JSON.parse(body) as { origin: string; size: number; checkpoint: string }
  expect(said).toMatchObject({ type: 'checkpoint', origin, size: 2, statements: [] })
  expect(openCheckpoint(said.checkpoint, parseVkey(world.sequencer.vkey))?.size).toBe(2)
  hook.close()
})

describe('a witness', () => {
  test('cosigns what continues, and its cosignature stands under the checkpoint that is shown and carried', async () => {
    const judge = await witness(world.sequencer.vkey)
    const hook = await listener(() => ({ status: 200 }))
    process.env['TEST_HOOK_SECRET'] = 'hush'
    const publisher = publisherOf(
      await open([
        { name: 'judge', kind: 'witness', url: judge.url, vkey: judge.vkey },
        { name: 'hook', kind: 'webhook', url: hook.url, secret: 'env:TEST_HOOK_SECRET' },
      ]),
    )
    await world.grow(3)
    await carry(publisher)
    await world.grow(300)
    await carry(publisher)
    expect(judge.state.size).toBe(303)
    const shown = await publishedCheckpoint(world.database.sql)
    expect(shown?.size).toBe(303)
    const text = shown!.note.slice(0, shown!.note.indexOf('\n\n') + 1)
    expect(cosignedAt(shown!.note.trim().split('\n').at(-1)!, text, parseWitness(judge.vkey))).toBe(1_795_000_000)
    expect(openCheckpoint(shown!.note, parseVkey(world.sequencer.vkey))?.size).toBe(303)
    await carry(publisher)
    expect((JSON.parse(hook.sent.at(-1)!.body) as { checkpoint: string }).checkpoint).toBe(shown!.note)

    // another process knows nothing of what was cosigned: the witness says it
    await publisher.close()
    await world.grow(1)
    const after = publisherOf(await open([{ name: 'judge', kind: 'witness', url: judge.url, vkey: judge.vkey }]))
    await carry(after)
    expect(judge.state.size).toBe(304)
    judge.close()
    hook.close()
  })

  test('RE4: cosigns no log that went back or was rewritten, and says so; what it answers falsely is not believed', async () => {
    const judge = await witness(world.sequencer.vkey)
    const publisher = publisherOf(await open([{ name: 'judge', kind: 'witness', url: judge.url, vkey: judge.vkey }]))
    const error = async () => (await placeStates(world.database.sql))[0]?.error
    await world.grow(3)
    await carry(publisher)
    judge.state.size = 50
    await world.grow(1)
    await carry(publisher)
    expect(await error()).toContain('has cosigned 50 entries, and the log has 4: it went back')
    judge.state.size = 3
    judge.state.root = Buffer.alloc(32)
    await carry(publisher)
    expect(await error()).toContain('it was rewritten')
    await world.grow(1) // a witness proves nothing to us: it stops no signing
    judge.close()
    const liar = await listener(() => ({ status: 200, text: '— witness.example/w AAAA\n' }))
    await publisher.close()
    const other = publisherOf(await open([{ name: 'judge', kind: 'witness', url: liar.url, vkey: judge.vkey }]))
    await carry(other)
    expect(await error()).toContain('holds no cosignature of witness.example/w')
    expect(await world.database.sql`select from audit_cosignatures where size > 3`).toHaveLength(0)
    liar.close()
  })
})

test('a bucket (a real S3 server) keeps every checkpoint and shows the newest', async () => {
  const server = await startVersitygw()
  const settings = await server.bucket('audit-places')
  const places = await open([{ name: 'vault', kind: 'bucket', ...settings, prefix: 'log/' }])
  const publisher = publisherOf(places)
  await world.grow(2)
  await carry(publisher)
  await world.grow(2)
  await carry(publisher)
  expect(await placeStates(world.database.sql)).toMatchObject([{ size: 4, error: null }])
  expect(await verify(places)).toMatchObject({ ok: true, outside: [{ place: 'vault', size: 4 }] })
  const bucket = await Bucket.open({ ...settings, prefix: 'log/' })
  const keys = []
  for await (const { key } of bucket.list('')) keys.push(key)
  expect(keys.sort()).toEqual(['checkpoint', 'checkpoints/0000000000000002', 'checkpoints/0000000000000004'])
  bucket.close()
  await server.stop()
})

test('settings that cannot be meant are refused', async () => {
  const hook = { name: 'a', kind: 'webhook', url: 'http://example.com/x', secret: 'env:PATH' } as const
  await expect(open([hook])).rejects.toThrow('plain http')
  await expect(open([{ ...hook, url: 'https://u@example.com/x' }])).rejects.toThrow('a credential stands in the url')
  await expect(
    open([
      { ...hook, url: 'https://example.com' },
      { ...hook, url: 'https://example.com' },
    ]),
  ).rejects.toThrow('two places called a')
  await expect(open([{ name: 'g', kind: 'git', source: 'git://x/y' }])).rejects.toThrow('/audit/places/0')
  const key = parseVkey(world.sequencer.vkey)
  await expect(
    open([{ name: 'w', kind: 'witness', url: 'https://w.example', vkey: world.sequencer.vkey }]),
  ).rejects.toThrow('no verifier key of a witness')
  expect(key.name).toBe(origin)
})
