import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { vkey } from '../../src/audit/note.ts'
import { rotateKey } from '../../src/audit/rotate.ts'
import type { EventLine, ManifestProof, OutsideLine } from '../../src/evidence/format.ts'
import { recomputeBundle } from '../../src/evidence/recompute.ts'
import { reportLines } from '../../src/evidence/verify-words.ts'
import { fixedKey, origin } from '../audit/support.ts'
import { opaPath } from '../policy/support.ts'
import { pieces, unpacked, verify } from './archives.ts'
import { type EvidenceWorld, evidenceWorld, hostile } from './world.ts'

let world: EvidenceWorld
let made: Awaited<ReturnType<EvidenceWorld['recorded']>>
let bytes: Buffer

beforeAll(async () => {
  world = await evidenceWorld()
  made = await world.recorded()
  bytes = await world.bundle({ session: made.session })
})
afterAll(() => world.close())

describe('a bundle of evidence', () => {
  test('about a session holds its request, vote, decisions, policies, recording and proofs, and verifies', async () => {
    const report = await verify(bytes, world.sequencer.vkey)
    expect(report.flaws).toEqual([])
    expect(report.ok).toBe(true)
    const proved = report.proved.join('\n')
    for (const words of [
      '1 requests with 1 votes',
      '1 sessions began',
      'decisions are, byte for byte',
      'the 2 events shown are what the sealed segments hold',
      'kept outside',
      'names the SHA-256 of the manifest',
    ])
      expect(proved).toContain(words)
    const names = (await unpacked(bytes)).map(file => file.name)
    expect(names).toContain('revisions/1.tar.gz')
    expect(names.slice(-3)).toEqual(['report.html', 'manifest.json', 'manifest.proof.json'])
    expect(report.not_proved.join()).toContain('--recompute')
  })

  test('about a request, or a subject in a time, holds the same', async () => {
    for (const about of [
      { request: made.request },
      { subject: world.ada.id, from_ms: Date.now() - 60_000, to_ms: Date.now() + 60_000 },
    ]) {
      const report = await verify(await world.bundle(about), world.sequencer.vkey)
      expect(report).toMatchObject({ ok: true, flaws: [] })
      expect(report.proved.join()).toContain('the 2 events shown')
    }
  })

  test('computed again, its decisions have the same answers, and opa eval agrees', async () => {
    const report = await recomputeBundle(() => pieces(bytes), { vkey: world.sequencer.vkey, opa: opaPath() })
    expect(report.flaws).toEqual([])
    expect(report.proved.join('\n')).toMatch(/\d+ decisions, computed again[\s\S]*a second judge, `opa eval`, agrees/)
  })

  test('without a key from elsewhere it says that nobody vouches for the one inside; another key is a flaw', async () => {
    expect((await verify(bytes)).not_proved[0]).toContain('the key was taken from the bundle itself')
    const other = vkey(origin, generateKeyPairSync('ed25519').publicKey)
    const report = await verify(bytes, other)
    expect([report.ok, report.proved]).toEqual([false, []])
    expect(report.flaws.join()).toContain('another key')
  })

  test('the script that it carries gives the same verdict in the same words', async () => {
    const out = join(world.folder, 'verifier')
    const vite = join(import.meta.dirname, '../../node_modules/vite/bin/vite.js')
    const config = join(import.meta.dirname, '../../src/evidence/verify-script.config.js')
    const built = spawnSync(process.execPath, [vite, 'build', '--config', config], {
      env: { ...process.env, SALLYPORT_VERIFIER_OUT: out, NODE_ENV: 'production' },
      encoding: 'utf8',
    })
    expect(built.stderr).toBe('')
    const flipped = Buffer.from(bytes)
    flipped[flipped.length >> 1]! ^= 1
    for (const [name, content, code] of [
      ['good', bytes, 0],
      ['bad', flipped, 1],
    ] as const) {
      const file = join(world.folder, `${name}.tar`)
      writeFileSync(file, content)
      const run = spawnSync(process.execPath, [join(out, 'verify.mjs'), file, '--key', world.sequencer.vkey], {
        encoding: 'utf8',
        cwd: world.folder,
        env: {},
      })
      expect([run.status, run.stderr]).toEqual([code, ''])
      expect(run.stdout.trimEnd().split('\n')).toEqual(reportLines(await verify(content, world.sequencer.vkey)))
    }
    expect(spawnSync(process.execPath, [join(out, 'verify.mjs')], { encoding: 'utf8' }).status).toBe(2)
  })

  test('Go’s tlog and note, which we did not write, find every proof in it good', { timeout: 240_000 }, async () => {
    const files = new Map((await unpacked(bytes)).map(file => [file.name, file.content.toString('utf8')]))
    const lines = <T>(name: string) =>
      (files.get(name) ?? '')
        .split('\n')
        .filter(text => text !== '')
        .map(text => JSON.parse(text) as T)
    const base64 = (path: readonly string[]) => path.map(hash => Buffer.from(hash, 'hex').toString('base64'))
    const proof = JSON.parse(files.get('manifest.proof.json')!) as ManifestProof
    const outside = lines<OutsideLine>('log/outside.jsonl')
    const given =
      (note: number) =>
      ({ index, leaf, inclusion }: EventLine) => ({
        note,
        index,
        leaf,
        path: base64(inclusion),
      })
    const events = [...files.keys()]
      .filter(name => name.startsWith('log/events-'))
      .flatMap(name => lines<EventLine>(name))
    const input = {
      vkey: world.sequencer.vkey,
      notes: [files.get('log/checkpoint.txt'), proof.checkpoint, ...outside.map(line => line.checkpoint)],
      proofs: [...events.map(given(0)), given(1)(proof.event)],
      trees: [
        { older: 0, newer: 1, path: base64(proof.consistency) },
        ...outside.map((line, i) => ({ older: 2 + i, newer: 0, path: base64(line.consistency) })),
      ],
    }
    const judge = join(import.meta.dirname, '../audit/judge')
    const judged = (asked: object) =>
      spawnSync('go', ['run', '.'], { cwd: judge, input: JSON.stringify(asked), encoding: 'utf8' })
    expect(judged(input)).toMatchObject({
      stderr: '',
      stdout: `${events.length + 1} proofs and ${outside.length + 1} consistencies hold\n`,
    })
    const [first, ...rest] = input.proofs
    const moved = judged({ ...input, proofs: [{ ...first, index: first!.index + 1 }, ...rest] })
    expect([moved.status, moved.stderr]).toEqual([1, expect.stringContaining('proof')])
  })

  test('RE5: what policy does not let the caller export is sealed, what it does not let them have is left out, and both are said', async () => {
    const sealed = await verify(
      await world.bundle({ session: made.session }, { refuse: ['export'] }),
      world.sequencer.vkey,
    )
    expect(sealed).toMatchObject({ ok: true })
    expect(sealed.not_proved.join()).toContain('their keys were not given (you may not export this)')
    const none = await world.bundle(
      { session: made.session },
      { refuse: ['export', 'download'], asked: { may: async call => call !== 'decisions.read' || 'not for you' } },
    )
    const report = await verify(none, world.sequencer.vkey)
    expect(report).toMatchObject({ ok: true })
    const said = report.not_proved.join()
    expect(said).toContain('decisions: withheld from whoever exported this (not for you)')
    expect(said).toContain('what it holds, because it was not given: you may not download this')
    const names = (await unpacked(none)).map(file => file.name).join()
    expect(names).not.toMatch(/\.seg|part-|decisions/)
    for (const file of await unpacked(none))
      expect(file.content.includes('onerror=alert(2)') && !/^(requests|log|report)/.test(file.name)).toBe(false)
  })

  test('RE6: nothing that was recorded or asked is mark-up or a control character in the report', async () => {
    const report = (await unpacked(bytes)).find(file => file.name === 'report.html')!.content.toString('utf8')
    expect(report).toContain('&lt;script&gt;alert(1)')
    expect(report).not.toMatch(/<script|<img|[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
    expect(report).toMatch(/Content-Security-Policy" content="default-src 'none'; style-src 'sha256-/)
    expect(hostile).toContain('\u001b')
  })

  test('the export is an event of the log that names who, what and the manifest', async () => {
    const [event] = await world.database.sql<
      { body: string; subject_id: string }[]
    >`select body, subject_id from audit_inbox where type = 'evidence.exported' order by seq limit 1`
    expect(event!.subject_id).toBe(world.dan.id)
    expect(JSON.parse(event!.body)).toMatchObject({ about: { session: made.session }, sessions: 1, requests: 1 })
  })

  test('after the key of the log was handed over, who trusts the old key is led to the new one', async () => {
    const { database, audit, copy, sequencer } = world
    const [from, to] = [fixedKey(7), fixedKey(8)]
    await rotateKey({ database, writer: audit, origin, from, to, copy, reason: 'yearly' })
    const after = await world.bundle({ session: made.session })
    for (const key of [sequencer.vkey, vkey(origin, to)]) expect((await verify(after, key)).flaws).toEqual([])
    expect((await verify(bytes, sequencer.vkey)).ok).toBe(true) // an older bundle stays what it was
    const files = (await unpacked(after)).map(file => file.name)
    expect(files).toContain('log/handovers.json')
  })
})
