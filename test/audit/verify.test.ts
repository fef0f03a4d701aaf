import { spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { leafHash } from '../../src/audit/merkle.ts'
import { vkey } from '../../src/audit/note.ts'
import { prove } from '../../src/audit/prove.ts'
import { tileHashes } from '../../src/audit/store.ts'
import { tilePath, tileWidth } from '../../src/audit/tiles.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { verifyProof } from '../../src/evidence/verify.ts'
import { fixedKey, type LogWorld, logWorld } from './support.ts'

let world: LogWorld
let ids: string[]
const entries = 700

beforeAll(async () => {
  world = await logWorld()
  ids = [...(await world.grow(300)), ...(await world.grow(entries - 300))]
})
afterAll(() => world.close())

/** Where the entry at an index lies. */
const at = (index: number) =>
  `seq = (select p.seq + ${index} - p.idx from audit_places p where p.idx <= ${index} order by p.idx desc limit 1)`
const verify = (copy = world.copy.path) => verifyLog(world.database, { vkey: world.sequencer.vkey, copy: copy })

/** Does harm, verifies, and undoes the harm. */
async function afterHarm(harm: string): Promise<string[]> {
  const { sql } = world.database
  const tables = ['audit_inbox', 'audit_places', 'audit_tiles', 'audit_checkpoints', 'audit_state', 'audit_writers']
  for (const table of tables) await sql.unsafe(`create table keep_${table} as table ${table}`)
  try {
    await sql.unsafe(harm)
    const report = await verify()
    expect(report.ok).toBe(report.flaws.length === 0)
    return report.flaws.map(flaw => `${flaw.kind}: ${flaw.message}`)
  } finally {
    for (const table of tables) await sql.unsafe(`truncate ${table} cascade`)
    for (const table of [...tables].reverse()) {
      await sql.unsafe(
        `insert into ${table} ${table === 'audit_places' ? 'overriding system value' : ''} select * from keep_${table}; drop table keep_${table}`,
      )
    }
  }
}

describe('RE3: the verifier names what was done to the log', () => {
  beforeEach(async () =>
    expect(await verify()).toMatchObject({ ok: true, size: entries, copied: 2, flaws: [], waiting: 0, erased: 0 }),
  )

  test('RE3: a deleted row', async () => {
    expect(await afterHarm(`delete from audit_inbox where ${at(17)}`)).toEqual([
      'entry_missing: entry 17 is missing: its row was deleted or moved away',
    ])
  })

  test('RE3: a changed body', async () => {
    expect(
      await afterHarm(`update audit_inbox set body = replace(body, '"number":41', '"number":42') where ${at(41)}`),
    ).toEqual([`body_changed: the body of entry 41 (${ids[41]}) was changed`])
  })

  test('RE3: a changed leaf, whatever is changed in it', async () => {
    expect(
      await afterHarm(
        `update audit_inbox set leaf = replace(leaf, 'vote.cast', 'vote.kept'), type = 'vote.kept' where ${at(300)}`,
      ),
    ).toEqual([`entry_changed: entry 300 (${ids[300]}) was changed: it is not what the tree holds`])
  })

  test('RE3: swapped leaves', async () => {
    const harm = `update audit_inbox set seq = -1 where ${at(5)}; update audit_inbox set seq = seq - 4 where ${at(9)};
      update audit_inbox set seq = (select p.seq + 9 from audit_places p where p.idx = 0) where seq = -1`
    expect(await afterHarm(harm)).toEqual([`entries_swapped: entries 5 (${ids[9]}) and 9 (${ids[5]}) were swapped`])
  })

  test('RE3: a duplicated entry', async () => {
    const harm = `delete from audit_inbox where ${at(8)}; insert into audit_inbox (id, writer, wseq, at_ms, type, body, salt, leaf, seq)
      select 'evt_copy', writer, 5000, at_ms, type, body, salt, leaf, seq + 1 from audit_inbox where ${at(7)}`
    expect(await afterHarm(harm)).toEqual([
      'entry_changed: entry 8 (evt_copy) was changed: it is not what the tree holds',
    ])
  })

  test('RE3: columns for search that say something else', async () => {
    expect(await afterHarm(`update audit_inbox set resource = null where ${at(3)}`)).toEqual([
      `columns_changed: the column resource of entry 3 (${ids[3]}) says something else than the event`,
    ])
    expect(await afterHarm(`update audit_inbox set at_ms = 1, id = 'evt_other' where ${at(3)}`)).toHaveLength(2)
  })

  test('RE3: a truncated log, however cleanly it was cut', async () => {
    const cut = `delete from audit_inbox where seq >= (select seq from audit_places where idx = 300); delete from audit_places where idx >= 300; delete from audit_checkpoints where size > 300; update audit_state set size = 300;
      delete from audit_tiles where level = 0 and n > 1; update audit_tiles set width = 44, hashes = substring(hashes for 44 * 32) where level = 0 and n = 1;
      update audit_tiles set width = 1, hashes = substring(hashes for 32) where level = 1`
    const flaws = await afterHarm(cut)
    expect(flaws).toContain(
      'log_truncated: the copy knows of 700 signed entries, the database has 300: the last 400 are gone',
    )
    expect(flaws.some(flaw => flaw.startsWith('writer_gap'))).toBe(true)
  })

  test('RE3: an entry rewritten together with its tile', async () => {
    const { sql } = world.database
    const [row] = await sql<{ leaf: string }[]>`select leaf from audit_inbox where ${sql.unsafe(at(20))}`
    const forged = row!.leaf.replace('vote.cast', 'vote.kept')
    const flaws = await afterHarm(`update audit_inbox set leaf = '${forged}', type = 'vote.kept' where ${at(20)};
      update audit_tiles set hashes = overlay(hashes placing decode('${leafHash(forged).toString('hex')}', 'hex') from ${20 * 32 + 1}) where level = 0 and n = 0`)
    expect(flaws.map(flaw => flaw.split(':')[0])).toEqual([
      'tile_wrong',
      'writer_fork',
      'checkpoint_wrong',
      'log_rewritten',
      'log_rewritten',
    ])
    expect(flaws[1]).toContain('entry 21')
    expect(flaws[2]).toContain('the entries from 0 to 299')
  })

  test('RE3: tiles and checkpoints that were changed or removed', async () => {
    expect(await afterHarm('delete from audit_tiles where level = 1')).toEqual([
      'tile_wrong: tile 1/0 does not hold the hashes of the tiles below it',
    ])
    expect((await afterHarm('delete from audit_checkpoints where size = 700'))[0]).toBe(
      'checkpoint_wrong: no signed checkpoint covers the log of 700 entries',
    )
    expect(
      (await afterHarm(`update audit_checkpoints set note = replace(note, E'\\n700\\n', E'\\n701\\n')`))[0],
    ).toContain('checkpoint_unsigned')
    expect(
      (await afterHarm('delete from audit_tiles where level = 0 and n = 2')).some(f => f.startsWith('tile_wrong')),
    ).toBe(true)
  })

  test('an erased body is counted, and is no flaw; half an erasure is one', async () => {
    const { sql } = world.database
    expect(await afterHarm(`update audit_inbox set salt = null where ${at(2)}`)).toEqual([
      `body_changed: the body of entry 2 (${ids[2]}) was changed`,
    ])
    const [kept] = await sql<
      { body: string; salt: Buffer }[]
    >`select body, salt from audit_inbox where ${sql.unsafe(at(2))}`
    await sql`update audit_inbox set body = null, salt = null where ${sql.unsafe(at(2))}`
    expect(await verify()).toMatchObject({ ok: true, erased: 1 })
    const proof = verifyProof(await prove(world.database, world.sequencer.vkey, ids[2]!), {
      vkey: world.sequencer.vkey,
    })
    expect(proof.ok).toBe(true)
    expect(proof.not_proved[0]).toContain('its body was erased')
    await sql`update audit_inbox set body = ${kept!.body}, salt = ${kept!.salt} where ${sql.unsafe(at(2))}`
  })

  test('a copy that is missing, cut by a stranger or goes back is named', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-audit-'))
    expect((await verify(join(folder, 'none'))).flaws.map(f => f.kind)).toEqual(['copy_missing'])
    const text = await readFile(world.copy.path, 'utf8')
    const file = join(folder, 'copy')
    await writeFile(file, text.trim().split('\n').reverse().join('\n'))
    expect((await verify(file)).flaws.map(f => f.kind)).toEqual(['copy_went_back'])
    await writeFile(file, text.replace('"note":"', '"note":"x'))
    expect((await verify(file)).flaws.map(f => f.kind)).toEqual(['copy_unsigned'])
    await rm(folder, { recursive: true })
  })
})

describe('proofs', () => {
  test('every kind of place in the log proves offline', async () => {
    for (const index of [0, 1, 255, 256, 299, 300, 511, 512, 699]) {
      const file = JSON.parse(JSON.stringify(await prove(world.database, world.sequencer.vkey, ids[index]!)))
      const report = verifyProof(file, { vkey: world.sequencer.vkey })
      expect(report).toMatchObject({ ok: true, problems: [] })
      expect(report.proved[0]).toContain(
        `signed a log of 700 entries, and entry ${index} of it is an event "vote.cast"`,
      )
    }
  })

  test('a proof without a key of one’s own says that the key came with the file', async () => {
    const report = verifyProof(await prove(world.database, world.sequencer.vkey, ids[0]!))
    expect(report.ok).toBe(true)
    expect(report.not_proved[0]).toContain('the key was taken from the file itself')
  })

  test('any change to a proof file is noticed', async () => {
    const file = await prove(world.database, world.sequencer.vkey, ids[300]!)
    const key = world.sequencer.vkey
    const changes: Record<string, unknown>[] = [
      { leaf: file.leaf.replace('vote.cast', 'vote.kept') },
      { body: file.body?.replace('"number":0', '"number":1') },
      { salt: '00'.repeat(32) },
      { salt: null },
      { index: 301 },
      { inclusion: file.inclusion.slice(1) },
      { checkpoint: file.checkpoint.replace('\n700\n', '\n701\n') },
      { format: 'v2' },
      { extra: 1 },
      { index: -1 },
    ]
    for (const change of changes)
      expect(verifyProof({ ...file, ...change }, { vkey: key }), JSON.stringify(change).slice(0, 60)).toMatchObject({
        ok: false,
        proved: [],
      })
    const stranger = vkey('sallyport/test', fixedKey(8))
    expect(verifyProof(file, { vkey: stranger }).problems[0]).toContain('the file names another key than you gave')
    for (const junk of [null, 1, 'x', [], {}]) expect(verifyProof(junk).ok).toBe(false)
  })

  test('an event that is not there, or has no place yet, has no proof', async () => {
    await expect(prove(world.database, world.sequencer.vkey, 'evt_x')).rejects.toMatchObject({ code: 'not_found' })
    const id = await world.database.db.transaction(tx => world.writer.record(tx, { type: 'vote.cast', body: {} }))
    await expect(prove(world.database, world.sequencer.vkey, id)).rejects.toMatchObject({ code: 'not_ready' })
    expect(await verify()).toMatchObject({ ok: true, waiting: 1 })
    await world.database.sql`delete from audit_inbox where id = ${id}`
    expect((await verify()).flaws.map(f => f.kind)).toEqual(['writer_gap'])
    await world.database.sql`delete from audit_places where idx is null`
    expect((await verify()).flaws.map(f => f.kind)).toEqual(['writer_gap'])
    await world.database
      .sql`update audit_writers set wseq = wseq - 1, prev = ${leafHash(await lastLeaf()).toString('hex')}`
  })
})

async function lastLeaf(): Promise<string> {
  return (await world.database.sql<{ leaf: string }[]>`select leaf from audit_inbox order by wseq desc limit 1`)[0]!
    .leaf
}

test('a log of many tiles verifies, with many events waiting', async () => {
  const large = await logWorld()
  await large.grow(3000)
  await large.database.db.transaction(tx =>
    large.writer.recordAll(
      tx,
      Array.from({ length: 5000 }, (_, n) => ({ type: 'vote.cast', body: { n } }) as const),
    ),
  )
  expect(await verifyLog(large.database, { vkey: large.sequencer.vkey, copy: large.copy.path })).toMatchObject({
    flaws: [],
    size: 3000,
    waiting: 5000,
  })
  await large.close()
})

describe('the outside judge', () => {
  test('Go’s note and tlog packages open our checkpoints and prove our entries from our tiles', {
    timeout: 240_000,
  }, async () => {
    const go = spawnSync('go', ['version'])
    expect(
      go.error,
      'this test needs the `go` command: install Go ≥ 1.24 (tests only; Sallyport itself does not need it here)',
    ).toBeUndefined()
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-judge-'))
    const { sql } = world.database
    for (const { level, n, width } of await sql<
      { level: number; n: number; width: number }[]
    >`select level, n::int, width from audit_tiles`) {
      const path = join(folder, tilePath({ level, n, width }))
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, (await tileHashes(sql, level, n, width))!)
      expect(width === tileWidth || path.includes('.p/')).toBe(true)
    }
    const notes = await sql<{ note: string }[]>`select note from audit_checkpoints c order by c.size`
    const records = await sql<{ index: number; leaf: string }[]>`
      select (p.idx + i.seq - p.seq)::int as index, leaf from audit_inbox i join audit_places p on i.seq >= p.seq and i.seq < p.seq + p.count
      where p.idx + i.seq - p.seq in (0, 1, 255, 256, 299, 300, 511, 512, 698, 699) order by 1`
    const judge = join(import.meta.dirname, 'judge')
    const fetched = spawnSync('go', ['mod', 'download'], { cwd: judge, encoding: 'utf8' }) // on a machine that never had them it says so
    expect(fetched.status, fetched.stderr).toBe(0)
    const judged = spawnSync('go', ['run', '.'], {
      cwd: judge,
      input: JSON.stringify({ vkey: world.sequencer.vkey, notes: notes.map(row => row.note), tiles: folder, records }),
      encoding: 'utf8',
    })
    expect(judged.stderr).toBe('')
    expect(judged.stdout).toBe('10 records and the consistency 300 to 700 hold\n')
    await rm(folder, { recursive: true })
  })
})
