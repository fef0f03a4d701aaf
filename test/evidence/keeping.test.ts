import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Publisher } from '../../src/audit/places/publisher.ts'
import { witnessPlace } from '../../src/audit/places/witness.ts'
import { digest } from '../../src/canonical.ts'
import { effectsOf, personalRows } from '../../src/control-keeping.ts'
import { OutsideCheckpoints } from '../../src/evidence/outside.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { Erasure } from '../../src/recording/erasure.ts'
import { type Seal, sealHash } from '../../src/recording/format/seal.ts'
import { liftHold, setHold } from '../../src/recording/holds.ts'
import { Proposals } from '../../src/recording/proposals.ts'
import { copyOf, witness } from '../audit/places.ts'
import { GivenEngine } from '../recording/decisions.ts'
import { edited, unpacked, verify } from './archives.ts'
import { type EvidenceWorld, evidenceWorld } from './world.ts'

/** Bundles of what is kept, sealed anew, witnessed, or gone. */
let world: EvidenceWorld
let made: Awaited<ReturnType<EvidenceWorld['recorded']>>
beforeAll(async () => {
  world = await evidenceWorld()
  made = await world.recorded()
})
afterAll(() => world.close())

const report = async (bytes: Uint8Array, witnesses?: string[]) => {
  const found = await verify(bytes, world.sequencer.vkey, witnesses)
  return { ...found, said: [...found.proved, ...found.not_proved].join('\n') }
}

/** As the sealer does when the owner of a spool comes back with more. */
async function sealAnew(session: string): Promise<void> {
  const { database, audit } = world
  const [row] = await database.sql<{ seal: Seal; seal_hash: string }[]>`
    select seal, seal_hash from recordings where session_id = ${session}`
  const seal: Seal = { ...row!.seal, former: row!.seal_hash, sealed_at_ms: row!.seal.sealed_at_ms + 1 }
  const seal_hash = sealHash(seal)
  await database.db.transaction(async tx => {
    await audit.record(tx, {
      type: 'recording.sealed',
      body: { recording: seal.recording_id, seal_hash },
      session_id: session,
    })
    await tx.execute(
      `update recordings set seal = '${JSON.stringify(seal)}', seal_hash = '${seal_hash}' where session_id = '${session}'`,
    )
  })
}

describe('a bundle', () => {
  test('of a held session shows its holds as they were set and lifted; one that is left out is a flaw', async () => {
    const { database, audit } = world
    const acting = { database, audit, session_id: made.session, by: world.dan.id, decision_id: newId('dec') }
    const hold = await setHold({ ...acting, reason: 'a lawsuit', case: 'C-1' })
    const held = await world.bundle({ session: made.session })
    expect(await report(held)).toMatchObject({ ok: true, flaws: [] })
    const shown = (await unpacked(held)).find(file => file.name.endsWith('recording.json'))!
    expect(JSON.parse(shown.content.toString()).holds).toMatchObject([{ id: hold.id, reason: 'a lawsuit' }])
    const hidden = await edited(held, /recording\.json$/, ([row]) => void (row.holds = []))
    expect((await report(hidden)).flaws.join()).toContain('the log has a legal hold')
    await liftHold({ ...acting, hold_id: hold.id, reason: 'settled' })
    expect(await report(await world.bundle({ session: made.session }))).toMatchObject({ ok: true, flaws: [] })
    expect(await report(held)).toMatchObject({ ok: true }) // what was exported before stays what it was
  })

  test('speaks of one seal: what is sealed anew while rows are read is read again, and later it breaks off', async () => {
    const { session } = await world.recorded('sealed anew')
    const waiting = world.bundle(
      { session },
      {
        before: async () => {
          // A decision that waits for its batch keeps the bundle waiting, between its rows and its events.
          await world.database.sql`
            insert into decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, session_id)
            values (${newId('dec')}, ${Date.now()}, 'access', 'allow', 'policy', ${digest('{}')}, '{}', '{}', '[]', ${session})`
          setTimeout(() => void sealAnew(session).then(world.sequenced), 100)
        },
      },
    )
    expect(await report(await waiting)).toMatchObject({ ok: true, flaws: [] })
    const broken = world.bundle({ session }, { replaying: () => sealAnew(session) })
    await expect(broken).rejects.toMatchObject({ code: 'conflict', remedy: 'export it again' })
    await world.sequenced()
    expect(await report(await world.bundle({ session }))).toMatchObject({ ok: true, flaws: [] })
  })

  test('RE4: carries what outside places and witnesses hold: cosignatures are checked with a key, and else said not to be', async () => {
    const { database, audit, sequencer, copy } = world
    const judge = await witness(sequencer.vkey)
    const process_id = randomUUID()
    const places = [witnessPlace({ name: 'judge', url: judge.url, vkey: judge.vkey, every_ms: 0 })]
    const publisher = new Publisher({ database, audit, places, vkey: sequencer.vkey, process_id })
    await world.sequenced()
    await publisher.run()
    let mirrored = (
      await database.sql<{ note: string }[]>`select note from audit_checkpoints order by size limit 1`
    )[0]!.note
    const mirror = copyOf(() => mirrored)
    const outside = (size: number) =>
      new OutsideCheckpoints({ database, copy, places: [mirror], vkey: sequencer.vkey }).upTo(size)
    const bytes = await world.bundle({ session: made.session }, { options: { outside } })
    const trusted = await report(bytes, [judge.vkey])
    expect(trusted).toMatchObject({ ok: true, flaws: [] })
    expect(trusted.said).toMatch(/outside place mirror \(git\): \d+ entries, its witnesses: \d+ entries/)
    expect(trusted.said).toMatch(/the witness witness\.example\/w cosigned this log of \d+ entries at 2026-/)
    expect((await report(bytes)).said).toContain('what witness.example/w cosigned: no key of theirs was given')
    const other = await witness(sequencer.vkey, 'other.example/w')
    expect((await report(bytes, [other.vkey])).said).toContain('that the witness other.example/w saw this log')
    const forged = await edited(bytes, /^log\/outside/, lines =>
      lines.map(line => ({ ...line, checkpoint: line.checkpoint.replace(/(— witness\.example\/w \S{40})./, '$1A') })),
    )
    expect((await report(forged, [judge.vkey])).flaws.join()).toContain('the cosignature of witness.example/w')

    // Another log under the same key: what lies outside says that this one was rewritten.
    mirrored = await world.otherLog()
    const rewritten = await world.bundle({ session: made.session }, { options: { outside } })
    expect((await report(rewritten)).flaws.join()).toMatch(/NOT a continuation of that of \d+, which was kept outside/)
    for (const each of [judge, other]) each.close()
    await publisher.close()
  })

  test('after an erasure verifies: what was erased is not proved any more, and the receipt says under whose word it went', async () => {
    const { database, audit, ada, dan } = world
    const before = await world.bundle({ session: made.session })
    const engine = new GivenEngine()
    engine.answer = () => ({ keep_s: 0, legal_hold: false })
    const decisions = new DecisionLog({ database, engine: engine as unknown as Engine })
    const erasure = new Erasure({ database, audit, store: world.store, engine, decisions, rows: personalRows() })
    const proposals = new Proposals({ database, audit, effects: effectsOf(audit, erasure) })
    await database.sql`update subjects set disabled_at = now() - interval '1 second' where id = ${ada.id}`
    const actor = (id: string) => ({ id, kind: 'person' as const, token: null })
    const { id } = await proposals.propose(actor(newId('sub')), {
      kind: 'erasure',
      body: { subject_id: ada.id },
      reason: 'asked for it',
      decision_id: newId('dec'),
    })
    await proposals.confirm(actor(dan.id), id, newId('dec'))
    await world.sequenced()
    expect(await erasure.run()).toBe(1)
    const bytes = await world.bundle({ session: made.session })
    const found = await report(bytes)
    expect(found).toMatchObject({ ok: true, flaws: [] })
    expect(found.said).toContain(`it was erased before its time by ${id}, keys first`)
    expect(found.said).toContain('their words were erased')
    expect(found.said).toMatch(/what \d+ events said: their bodies were erased/)
    const hidden = await edited(before, /^requests-/, ([row]) => void (row.reason = '[erased]'))
    expect((await report(hidden)).flaws.join()).toContain('NOT what its hash and its votes bind')
    for (const { name, content } of await unpacked(bytes))
      expect(content.includes('look into order 4711') || content.includes('ada@'), name).toBe(false)
  })
})
