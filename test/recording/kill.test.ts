import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JournalLost } from '../../src/recording/errors.ts'
import { Reader } from '../../src/recording/reader.ts'
import { runUntilFirstLine } from '../support/children.ts'
import { createWorld, type RecordingWorld, sessionFacts, until } from './world.ts'

let world: RecordingWorld
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const one = [{ conn: 'con_1', kind: 'statement', body: { text: 'x'.repeat(2000) } }]

describe('RE2: kill -9 of a real process while events flow', () => {
  test.each([40, 400])('after %i ms nothing that an append returned for is lost, and the chain verifies', async ms => {
    const side = await world.process()
    const facts = sessionFacts()
    const spool = join(world.folder, `spool-${ms}`)
    const given = {
      url: world.test.roleUrls.gateway.reveal(),
      process_id: side.process_id,
      store: join(world.folder, 'store'),
      spool,
      recipient: world.recipient,
      facts,
    }
    const { child, line } = await runUntilFirstLine('test/recording/killed-child.ts', [JSON.stringify(given)])
    let last = Number(line)
    createInterface({ input: child.stdout! }).on('line', text => (last = Number(text)))
    setTimeout(() => child.kill('SIGKILL'), ms)
    await once(child, 'close')
    expect(last).toBeGreaterThan(0)

    const heir = await world.process()
    const journal = await world.journal({ process_id: heir.process_id, spool_root: spool })
    expect(await journal.recoverDue()).toMatchObject([{ parts: 1 }])
    expect(readdirSync(spool)).toEqual([heir.process_id])
    await world.die(side)
    world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()

    const reader = new Reader({ ...world.replay, store: world.store, identities: [world.identity] })
    const seqs: number[] = []
    for await (const event of reader.events(facts.session_id)) {
      if (event.kind === 'statement') seqs.push(event['i'] as number)
    }
    expect(seqs.length).toBeGreaterThanOrEqual(last)
    expect(seqs).toEqual(seqs.map((_, i) => i + 1))
    const [row] = await world.test.database.sql`select state from recordings where session_id = ${facts.session_id}`
    expect(row?.['state']).toBe('interrupted')
    await expect(reader.verify(facts.session_id)).resolves.toMatchObject({ ok: true })
  })
})

describe('a spool that somebody else takes over', () => {
  test('its living owner records nothing more, cuts its sessions, and opens no new one', async () => {
    const side = await world.process()
    const root = join(world.folder, 'taken')
    const journal = await world.journal({ process_id: side.process_id, spool_root: root })
    const recorder = await journal.open(sessionFacts())
    recorder.append(one)
    const told: string[] = []
    recorder.onLost(reason => told.push(reason))
    const folder = join(root, side.process_id)
    const owner = readdirSync(folder).find(name => name.startsWith('owner.'))!
    renameSync(join(folder, owner), join(folder, 'owner.other.1.1'))
    await journal.recoverDue()
    expect(told).toEqual([expect.stringContaining('took its spool over')])
    expect(() => recorder.append(one)).toThrow(JournalLost)
    await expect(journal.open(sessionFacts())).rejects.toThrow('took its spool over')
    await journal.close(100)
    expect(readdirSync(folder)).toContain('owner.other.1.1')
  })

  test('a process of another namespace or boot counts as dead only when the database has not heard of it', async () => {
    const side = await world.process()
    const heir = await world.process()
    const root = join(world.folder, 'elsewhere')
    await world.journal({ process_id: side.process_id, spool_root: root })
    const folder = join(root, side.process_id)
    const owner = readdirSync(folder).find(name => name.startsWith('owner.'))!
    // The same host name, another boot or namespace: its pid says nothing here.
    renameSync(join(folder, owner), join(folder, owner.replace(/-[0-9a-f]*-\d*\.\d+\.\d+$/, '-00000000-1.1.1')))
    const journal = await world.journal({ process_id: heir.process_id, spool_root: root, dead_after_s: 30 })
    expect(await journal.recoverDue()).toEqual([])
    await world.die(side)
    expect(await journal.recoverDue()).toHaveLength(1)
  })
})

describe('RT1: a recording that is deleted while its session lives', () => {
  test('leaves nothing in the store, also of what was on its way', async () => {
    const side = await world.process()
    const journal = await world.journal({ process_id: side.process_id, spool_root: join(world.folder, 'deleted') })
    const recorder = await journal.open(sessionFacts())
    const stored = () =>
      readdirSync(join(world.folder, 'store'), { recursive: true }).filter(name =>
        String(name).includes(recorder.recording_id),
      )
    recorder.append(one)
    await until(async () => stored().length > 0)
    await world.test.database.sql`update recordings set state = 'deleted' where id = ${recorder.recording_id}`
    recorder.append(one)
    await until(async () => journal.pending === 0)
    expect(stored()).toEqual([])
    await recorder.close('done')
  })
})

const mountable = process.getuid?.() === 0 && canMount()

function canMount(): boolean {
  const at = mkdtempSync(join(tmpdir(), 'sallyport-tmpfs-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', at]).status === 0
  if (mounted) spawnSync('umount', [at])
  rmSync(at, { recursive: true, force: true })
  if (!mounted) console.warn('SKIPPED: RE1 on a real full disk needs the right to mount a tmpfs')
  return mounted
}

describe('RE1: a disk that is really full', () => {
  test.skipIf(!mountable)(
    'the session is cut, what was taken before is shipped, and room lets a new one start',
    async () => {
      const root = join(world.folder, 'small')
      mkdirSync(root)
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', root]).status).toBe(0)
      try {
        const side = await world.process()
        const journal = await world.journal({ process_id: side.process_id, spool_root: root, tuning: { cutMs: 20 } })
        const recorder = await journal.open(sessionFacts())
        let taken = 0
        expect(() => {
          for (; taken < 10_000; taken++) recorder.append(one)
        }).toThrow('the disk of the spool is full')
        expect(taken).toBeGreaterThan(100)
        expect(() => recorder.append(one)).toThrow(JournalLost)
        await recorder.close('cut')
        await until(async () => journal.pending === 0)
        const [part] = await world.test.database.sql`
        select ending, last_seq::int as last from recording_parts where recording_id = ${recorder.recording_id}`
        expect(part).toEqual({ ending: 'lost', last: taken })
        const next = await journal.open(sessionFacts())
        next.append(one)
        await next.close('done')
        await journal.close(2000)
      } finally {
        spawnSync('umount', ['-l', root])
      }
    },
  )
})
