import { appendFile, chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CheckpointCopy } from '../../src/audit/copy.ts'
import { appendTo } from '../../src/audit/guard.ts'
import { openCheckpoint, parseVkey } from '../../src/audit/note.ts'
import { resumeLog } from '../../src/audit/resume.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { fixedKey, type LogWorld, logWorld, origin } from './support.ts'

let world: LogWorld
beforeEach(async () => {
  world = await logWorld()
})
afterEach(() => world.close())

const lines = async () =>
  (await readFile(world.copy.path, 'utf8'))
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as { kind: string; note: string })
const size = async () => Number((await world.database.sql`select size::text from audit_state`)[0]!['size'])

describe('the sequencer', () => {
  test('gives indices in the order of insertion, signs, and copies each checkpoint', async () => {
    await world.grow(3)
    await world.grow(600)
    const rows = await world.database.sql<{ idx: number }[]>`
      select (p.idx + i.seq - p.seq)::int as idx from audit_inbox i join audit_places p on i.seq between p.seq and p.seq + p.count - 1 order by i.seq`
    expect(rows.map(row => row.idx)).toEqual(rows.map((_, i) => i))
    const notes = (await lines()).map(line => openCheckpoint(line.note, parseVkey(world.sequencer.vkey)))
    expect(notes.map(note => note?.size)).toEqual([3, 603])
  })

  test('a process that lost the lead before it could copy its checkpoint does not set the copy back', async () => {
    await world.grow(3)
    const [late] = await lines()
    await world.grow(5)
    await appendTo(world.copy, [late!.note])
    const notes = (await lines()).map(line => openCheckpoint(line.note, parseVkey(world.sequencer.vkey)))
    expect(notes.map(note => note?.size)).toEqual([3, 8])
  })

  test('signs within a second of the commit, woken or not', async () => {
    const stop = new AbortController()
    const running = world.sequencer.run(stop.signal)
    await expect.poll(() => world.sequencer.leads).toBe(true)
    for (const wake of [true, false]) {
      const before = await size()
      await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
      if (wake) world.sequencer.wake()
      await expect.poll(size, { timeout: wake ? 300 : 1000, interval: 20 }).toBe(before + 1)
    }
    stop.abort()
    await running
  })

  test('with two of them one works, and the other takes over when it stops', async () => {
    const other = world.sequencerWith({})
    await world.grow(2)
    expect(await other.step()).toBe(0)
    expect(other.leads).toBe(false)
    await world.sequencer.release()
    await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
    expect(await other.step()).toBe(1)
    await other.release()
  })

  test('when its connection breaks another takes over, and it stands back', async () => {
    await world.grow(2)
    const other = world.sequencerWith({})
    await world.database.sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'`
    await expect.poll(() => world.sequencer.leads).toBe(false)
    expect(await other.step()).toBe(0)
    expect(other.leads).toBe(true)
    await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
    expect(await world.sequencer.step()).toBe(0)
    expect(await other.step()).toBe(1)
    await other.release()
  })

  test('one that lost the lead without noticing is fenced off and writes nothing', async () => {
    await world.grow(2)
    await world.database.sql`update audit_state set epoch = epoch + 1`
    await world.database.db.transaction(tx =>
      world.writer.recordAll(
        tx,
        [1, 2, 3].map(n => ({ type: 'vote.cast', body: { n } }) as const),
      ),
    )
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.leads).toBe(false)
    expect(await size()).toBe(2)
    expect(await world.sequencer.step()).toBe(3)
    expect(await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })).toMatchObject({
      ok: true,
      size: 5,
    })
  })

  test('a batch that fails half way is done again, whole', async () => {
    await world.grow(300)
    await world.database.sql`alter table audit_checkpoints add constraint full_disk check (size < 301)`
    await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem?.code).toBe('database')
    await world.database.sql`alter table audit_checkpoints drop constraint full_disk`
    expect(await world.sequencer.step()).toBe(1)
    expect(world.sequencer.problem).toBeNull()
    expect(await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })).toMatchObject({
      ok: true,
      size: 301,
    })
  })

  test('a copy that cannot be written stops the signing; it catches up when it can, and nothing is lost', async () => {
    await world.grow(1)
    await rm(world.copy.path)
    await mkdir(world.copy.path)
    await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
    await world.sequencer.step()
    expect(world.sequencer.problem?.code).toMatch(/^copy_un/)
    await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
    expect(await world.sequencer.step()).toBe(0)
    await rm(world.copy.path, { recursive: true })
    expect(await world.sequencer.step()).toBe(1)
    expect((await lines()).length).toBe(3)
  })

  test('a line of the copy that a crash cut off is passed over and mended', async () => {
    await world.grow(1)
    await appendFile(world.copy.path, '{"kind":"checkpo')
    await world.sequencer.release()
    await world.grow(1)
    expect((await readFile(world.copy.path, 'utf8')).split('\n')).toHaveLength(4)
    expect(await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })).toMatchObject({
      ok: true,
      copied: 2,
    })
  })

  test('an event whose forerunner was deleted from the inbox stays out, is named, and stops no other writer', async () => {
    await world.grow(1)
    const ids = await world.database.db.transaction(tx =>
      world.writer.recordAll(
        tx,
        [1, 2].map(n => ({ type: 'vote.cast', body: { n } }) as const),
      ),
    )
    await world.database.sql`delete from audit_inbox where id = ${ids[0]!}`
    await world.sequencer.step()
    expect(world.sequencer.problem).toMatchObject({ code: 'chain_broken' })
    expect(world.sequencer.problem?.message).toContain(ids[1]!)
    await world.database.sql`insert into audit_writers (writer, process, wseq, prev) values ('prc_z.1', 'prc_z', 0, '')`
    const { createAuditWriter } = await import('../../src/audit/writer.ts')
    const other = createAuditWriter({ database: world.database, process_id: 'prc_z' })
    await world.database.db.transaction(tx => other.record(tx, { type: 'vote.cast', body: {} }))
    expect(await world.sequencer.step()).toBe(1)
  })

  test('a row that passes for two events gets no place: the log would have an entry that nothing holds', async () => {
    await world.grow(1)
    const { sql } = world.database
    await world.database.db.transaction(tx =>
      world.writer.recordAll(
        tx,
        [1, 2].map(n => ({ type: 'vote.cast', body: { n } }) as const),
      ),
    )
    await sql`update audit_inbox a set leaf = a.leaf || E'\n' || b.leaf from audit_inbox b where a.wseq = 2 and b.wseq = 3`
    await sql`delete from audit_inbox where wseq = 3`
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem).toMatchObject({ code: 'chain_broken' })
    expect(await size()).toBe(1)
  })
})

describe('RE4: the signer refuses to go back', () => {
  /** Puts the database back to where it was at `at` entries, as a restored backup would. */
  async function restore(at: number) {
    const { sql } = world.database
    await world.sequencer.release()
    await sql`delete from audit_inbox where seq >= (select seq from audit_places where idx = ${at})`
    await sql`delete from audit_places where idx >= ${at}`
    await sql`delete from audit_checkpoints where size > ${at}`
    await sql`update audit_tiles set width = ${at}, hashes = substring(hashes for ${at * 32}) where level = 0 and n = 0`
    await sql`update audit_state set size = ${at}`
    await sql`update audit_writers w set wseq = coalesce((select max(wseq) from audit_inbox i where i.writer = w.writer), 0)`
    const last = await sql<
      { writer: string; leaf: string }[]
    >`select distinct on (writer) writer, leaf from audit_inbox order by writer, wseq desc`
    const { leafHash } = await import('../../src/audit/merkle.ts')
    for (const row of last)
      await sql`update audit_writers set prev = ${leafHash(row.leaf).toString('hex')} where writer = ${row.writer}`
  }
  const resume = (from: number, copy = world.copy) =>
    resumeLog({
      database: world.database,
      writer: world.writer,
      key: fixedKey(),
      origin,
      copy,
      from,
      reason: 'disk died, backup of Monday',
    })

  test('RE4: an old backup is not signed until the operator resumes it, which stays visible for ever', async () => {
    await world.grow(10)
    await world.grow(5)
    await restore(10)
    expect(
      (await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })).flaws.map(f => f.kind),
    ).toEqual(['log_truncated'])
    await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem).toMatchObject({ code: 'went_back' })
    expect(world.sequencer.problem?.message).toContain('10 entries, but 15 were signed')

    await expect(resume(14)).rejects.toThrow('the last checkpoint that is kept is for 15 entries, not 14')
    await resume(15)
    expect(await world.sequencer.step()).toBe(2)
    const report = await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })
    expect(report).toMatchObject({ ok: true, size: 12, breaks: [{ abandoned: 15, resumed: 10 }] })
    expect(await world.database.sql`select from audit_inbox where type = 'log.resumed'`).toHaveLength(1)
    await expect(resume(12)).rejects.toThrow('nothing to resume')
  })

  test('RE4: a log that was rewritten is not signed, and no break covers it', async () => {
    await world.grow(10)
    await world.grow(5)
    // the owner of the database grows another log of the same size, with the signer's own key, copied nowhere
    const { sql } = world.database
    await world.sequencer.release()
    await sql`delete from audit_checkpoints`
    await sql`delete from audit_tiles`
    await sql`update audit_state set size = 0`
    await sql`update audit_places set idx = null, count = least(count, 13 - wseq)`
    await sql`delete from audit_inbox where wseq > 12`
    await sql`update audit_inbox set leaf = replace(leaf, 'vote.cast', 'vote.lost'), type = 'vote.lost' where wseq = 12`
    const elsewhere = world.sequencerWith({ copy: new CheckpointCopy(`${world.copy.path}.forged`) })
    expect(await elsewhere.step()).toBe(12)
    await elsewhere.release()
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem?.code).toBe('went_back')
    const eager = world.sequencerWith({ copy: elsewhereCopy() })
    expect(await eager.step()).toBe(0) // who refuses keeps the lock: nobody with an emptier copy signs instead
    await world.sequencer.release()
    expect(
      (await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })).flaws.map(f => f.kind),
    ).toContain('log_truncated')

    await sql`update audit_writers set wseq = 12, prev = ''`
    await sql`insert into audit_writers (writer, process, wseq, prev) values ('prc_y.1', 'prc_y', 0, '')`
    const { createAuditWriter } = await import('../../src/audit/writer.ts')
    const other = createAuditWriter({ database: world.database, process_id: 'prc_y' })
    await world.database.db.transaction(tx =>
      other.recordAll(
        tx,
        Array.from({ length: 8 }, (_, n) => ({ type: 'vote.cast', body: { n } }) as const),
      ),
    )
    const again = world.sequencerWith({ copy: elsewhereCopy() })
    expect(await again.step(), again.problem?.message).toBe(8)
    await again.release()
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem?.code).toBe('rewritten')
    const report = await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })
    expect(report.flaws.map(f => f.kind)).toContain('log_rewritten')

    function elsewhereCopy() {
      return new CheckpointCopy(`${world.copy.path}.forged`)
    }
  })

  test('RE4: a copy signed by another key, or made unreadable, stops the signing', async () => {
    await world.grow(1)
    await world.sequencer.release()
    const stranger = world.sequencerWith({ key: fixedKey(8) })
    expect(await stranger.step()).toBe(0)
    const remedy = expect.stringContaining('sallyport audit rotate-key --from OLD-FILE')
    expect(stranger.problem).toMatchObject({ code: 'key_unknown', remedy })
    await stranger.release()
    await writeFile(world.copy.path, 'not ours\n')
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem?.code).toBe('copy_unreadable')
    await chmod(world.copy.path, 0o600)
  })

  test('RE4: tiles that no longer give the signed root stop the signing', async () => {
    await world.grow(9)
    await world.sequencer.release()
    await world.database.sql`update audit_tiles set hashes = overlay(hashes placing '\\x00'::bytea from 40)`
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem).toMatchObject({ code: 'damaged' })
    expect(world.sequencer.problem?.message).toContain('another root')
  })
})

test('the copy’s folder is made where it is missing', async () => {
  const copy = new CheckpointCopy(join(world.copy.path, '..', 'a', 'b', 'c.jsonl'))
  expect(await copy.latest()).toBeNull()
  await copy.append([{ kind: 'checkpoint', note: 'x' }])
  expect(await copy.latest()).toEqual({ kind: 'checkpoint', note: 'x' })
})
