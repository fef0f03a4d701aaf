import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openBreak, signBreak } from '../../src/audit/copy.ts'
import { cosignedAt, parseWitness } from '../../src/audit/cosignature.ts'
import { chainOf, lastKey, openHandover, signHandover } from '../../src/audit/handover.ts'
import { leafHash } from '../../src/audit/merkle.ts'
import { checkpointText, handedOverAt, openCheckpoint, parseVkey, signNote, vkey } from '../../src/audit/note.ts'
import { prove, proveConsistency } from '../../src/audit/prove.ts'
import { resumeLog } from '../../src/audit/resume.ts'
import { rotateKey } from '../../src/audit/rotate.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { verifyProof } from '../../src/evidence/verify.ts'
import { verifyConsistencyFile } from '../../src/evidence/verify-consistency.ts'
import { backup, fixedKey, type LogWorld, logWorld, origin } from './support.ts'

const vector = <T>(name: string) =>
  JSON.parse(readFileSync(new URL(`../vectors/audit/${name}.json`, import.meta.url), 'utf8')) as T
const keys = { first: fixedKey(7), second: fixedKey(8), third: fixedKey(9) }
const vkeys = { first: vkey(origin, keys.first), second: vkey(origin, keys.second), third: vkey(origin, keys.third) }
const keyFor = (wanted: string) => Object.values(keys).find(key => vkey(origin, key) === wanted)

describe('statements', () => {
  const point = (size: number) => ({ origin, size, root: leafHash(String(size)) })
  const note = signHandover(point(5), 1_795_230_000_123, keys.first, keys.second)

  test('handover and break are those of the pinned vector', () => {
    const pinned = vector<{ handover: string; break: string; vkeys: string[] }>('statements')
    expect(pinned).toMatchObject({ handover: note, vkeys: [vkeys.first, vkeys.second] })
    const broken = { origin, abandoned: point(9), resumed: point(5), at_ms: 1_795_230_000_123 }
    expect(signBreak(broken, keys.first)).toBe(pinned.break)
    expect(openBreak(pinned.break, parseVkey(vkeys.first))).toEqual(broken)
  })

  test('a handover needs the signatures of both its keys, and every changed byte is noticed', () => {
    expect(openHandover(note)).toMatchObject({ origin, at: { size: 5 }, at_ms: 1_795_230_000_123 })
    const lines = note.trimEnd().split('\n')
    for (const without of [-1, -2])
      expect(openHandover(`${lines.filter((_, i) => i !== lines.length + without).join('\n')}\n`)).toBeNull()
    const bytes = Buffer.from(note)
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes)
      changed[i]! ^= 1
      expect(openHandover(changed.toString('utf8')), `byte ${i}`).toBeNull()
    }
    expect(openHandover('')).toBeNull()
    expect(openHandover(signHandover(point(5), 1, keys.first, keys.first))).toBeNull()
  })

  test('a chain is followed both ways; a key that was handed over signs no larger log', () => {
    const other = signNote(checkpointText({ origin, size: 5, root: leafHash('other') }), origin, keys.first)
    const ended = chainOf([openHandover(note)!], parseVkey(vkeys.first))
    expect(openCheckpoint(other, ended)).toBeNull() // as long as the one that was handed over, and another
    expect(openCheckpoint(signNote(checkpointText(point(5)), origin, keys.first), ended)).toMatchObject({ size: 5 })
    expect(handedOverAt(signNote(checkpointText(point(3)), origin, keys.first), ended)).toBe(5)
    expect(handedOverAt(signNote(checkpointText(point(5)), origin, keys.first), ended)).toBeNull()
    const next = signHandover(point(9), 1, keys.second, keys.third)
    const stray = signHandover(point(2), 1, fixedKey(30), fixedKey(31))
    const handovers = [next, stray, note].map(text => openHandover(text)!)
    for (const known of Object.values(vkeys)) {
      const chain = chainOf(handovers, parseVkey(known))
      expect(chain.links.map(link => [vkey(origin, link.verifier.key), link.until])).toEqual([
        [vkeys.first, 5],
        [vkeys.second, 9],
        [vkeys.third, Number.POSITIVE_INFINITY],
      ])
      expect(vkey(origin, lastKey(chain).key)).toBe(vkeys.third)
      const signed = (size: number, by: 'first' | 'second' | 'third') =>
        openCheckpoint(signNote(checkpointText(point(size)), origin, keys[by]), chain)?.size ?? null
      expect([
        signed(5, 'first'),
        signed(6, 'first'),
        signed(6, 'second'),
        signed(10, 'second'),
        signed(10, 'third'),
      ]).toEqual([5, null, 6, null, 10])
    }
    expect(chainOf(handovers, parseVkey(vkey(origin, fixedKey(40)))).links).toHaveLength(1)
  })

  test('a cosignature made by another program (Go, torchwood) is read as it is', () => {
    const pinned = vector<{ vkey: string; line: string; text: string; at_s: number }>('cosignature')
    const witness = parseWitness(pinned.vkey)
    expect(cosignedAt(pinned.line, pinned.text, witness)).toBe(pinned.at_s)
    expect(cosignedAt(pinned.line, pinned.text.replace('1', '2'), witness)).toBeNull()
    const bytes = Buffer.from(pinned.line.split(' ')[2]!, 'base64')
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes)
      changed[i]! ^= 1
      expect(
        cosignedAt(`— ${witness.name} ${changed.toString('base64')}`, pinned.text, witness),
        `byte ${i}`,
      ).toBeNull()
    }
  })
})

describe('rotating the key', () => {
  let world: LogWorld
  beforeEach(async () => {
    world = await logWorld({ keyFor })
  })
  afterEach(() => world.close())
  const rotate = (from: keyof typeof keys, to: keyof typeof keys) =>
    rotateKey({
      database: world.database,
      writer: world.writer,
      origin,
      from: keys[from],
      to: keys[to],
      copy: world.copy,
      reason: 'yearly',
    })
  const verify = (key: string) => verifyLog(world.database, { vkey: key, copy: world.copy.path })

  test('the running sequencer goes on with the new key; whoever has the old one is led to it', async () => {
    const [id] = await world.grow(3)
    const old = await prove(world.database, vkeys.first, id!)
    await rotate('first', 'second')
    await world.sequencer.step() // fenced: it reads its key again
    await world.grow(2)
    const notes = await world.database.sql<
      { size: number; note: string }[]
    >`select size::int, note from audit_checkpoints c order by c.size`
    const by = (name: 'first' | 'second') =>
      notes.filter(row => openCheckpoint(row.note, parseVkey(vkeys[name]))).map(row => row.size)
    expect(by('first')).toEqual([3])
    expect(Math.min(...by('second'))).toBeGreaterThan(3)
    expect(by('first').length + by('second').length).toBe(notes.length)
    const kinds = (await readFile(world.copy.path, 'utf8'))
      .trim()
      .split('\n')
      .map(line => (JSON.parse(line) as { kind: string }).kind)
    expect(kinds.slice(0, 3)).toEqual(['checkpoint', 'handover', 'checkpoint'])

    for (const key of [vkeys.first, vkeys.second])
      expect(await verify(key)).toMatchObject({
        ok: true,
        keys: [
          { vkey: vkeys.first, until: 3 },
          { vkey: vkeys.second, until: null },
        ],
      })
    const proof = await prove(world.database, vkeys.first, id!)
    expect(proof.vkey).toBe(vkeys.second)
    expect(verifyProof(proof, { vkey: vkeys.first })).toMatchObject({ ok: true })
    expect(verifyProof(proof, { vkey: vkeys.first }).proved.join()).toContain('leads to the one that signed')
    expect(verifyProof({ ...proof, handovers: [] }, { vkey: vkeys.first })).toMatchObject({ ok: false })
    expect(verifyProof(proof, { vkey: vkeys.third })).toMatchObject({ ok: false })
    expect(verifyProof(old, { vkey: vkeys.first })).toMatchObject({ ok: true })
    const grown = await proveConsistency(world.database, vkeys.first, { from: 3 })
    expect(verifyConsistencyFile(grown, { vkey: vkeys.first })).toMatchObject({ ok: true })
    expect(await world.database.sql`select from audit_inbox where type = 'log.key_rotated'`).toHaveLength(1)
  })

  test('only the key that signs now hands over, and only to one that never signed', async () => {
    await world.grow(1)
    await rotate('first', 'second')
    await expect(rotate('first', 'third')).rejects.toThrow('was handed over already')
    await expect(rotate('second', 'first')).rejects.toThrow('has signed this log before')
    await rotate('second', 'third')
    await world.sequencer.step()
    await world.grow(1)
    expect((await verify(vkeys.first)).keys).toHaveLength(3)
  })

  test('a host without the new key signs nothing and says why', async () => {
    await world.grow(1)
    await rotate('first', 'second')
    await world.sequencer.release()
    const poor = world.sequencerWith({ keyFor: () => undefined })
    expect(await poor.step()).toBe(0)
    expect(poor.problem).toMatchObject({ code: 'key_unknown' })
    await poor.release()
  })

  test('RE4: what the old key signs later is no checkpoint, whoever has stolen it', async () => {
    await world.grow(2)
    await rotate('first', 'second')
    await world.sequencer.step()
    await world.grow(2)
    const [last] = await world.database.sql<
      { size: number; root: Buffer }[]
    >`select size::int, root from audit_checkpoints c order by c.size desc limit 1`
    const forged = signNote(checkpointText({ origin, ...last! }), origin, keys.first)
    await world.database.sql`update audit_checkpoints set note = ${forged} where size = ${last!.size}`
    expect((await verify(vkeys.second)).flaws.map(flaw => flaw.kind)).toEqual([
      'checkpoint_unsigned',
      'checkpoint_wrong',
    ])
  })

  test('RE4: a backup from before the handover is resumed with the new key; the handover comes back from the copy', async () => {
    await world.grow(4)
    const restore = await backup(world.database)
    await rotate('first', 'second')
    await world.sequencer.step()
    await world.grow(2)
    await world.sequencer.release()
    await restore()
    expect(await world.sequencer.step()).toBe(0)
    expect(world.sequencer.problem).not.toBeNull()
    await world.sequencer.release()
    const [last] = [...(await readFile(world.copy.path, 'utf8')).trim().split('\n')].reverse()
    const from = openCheckpoint((JSON.parse(last!) as { note: string }).note, parseVkey(vkeys.second))!.size
    await resumeLog({ ...world, key: keys.second, origin, from, reason: 'backup of Monday' })
    await world.grow(1)
    expect(await verify(vkeys.first)).toMatchObject({ ok: true, breaks: [{ abandoned: from, resumed: 4 }] })
  })
})
