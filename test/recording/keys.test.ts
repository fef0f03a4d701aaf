import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openSealed } from '../../src/cli/recording.ts'
import { SallyportError } from '../../src/errors.ts'
import { type ExportedLine, exportRecording, openExported } from '../../src/recording/exported.ts'
import { unwrapPartKey } from '../../src/recording/part-key.ts'
import { Reader } from '../../src/recording/reader.ts'
import type { SessionFacts } from '../../src/recording/recorder.ts'
import { Secret } from '../../src/secret.ts'
import { runCommand } from '../support/commands.ts'
import { pythonWith } from '../support/python.ts'
import { createWorld, orphan, type RecordingWorld, sessionFacts, until } from './world.ts'

let world: RecordingWorld
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const settings = { level: 'full', results: 'all', head_rows: 0, strict: false, originals: 'sealed' } as const
const pair = async () => {
  const identity = await generateX25519Identity()
  return { identity, recipient: await identityToRecipient(identity) }
}

/** A session of two processes, the first of which was killed: sealed segments, copied records, originals. */
async function recorded(recipients: readonly string[]): Promise<SessionFacts> {
  const facts = sessionFacts({ settings })
  for (const killed of [true, false]) {
    const side = await world.process()
    const elsewhere = join(world.folder, side.process_id)
    const away = { ...world.store, put: () => Promise.reject(new Error('killed before it shipped')) }
    const journal = await world.journal({
      process_id: side.process_id,
      recipients,
      tuning: { cutMs: 20 },
      ...(killed ? { spool_root: elsewhere, store: away } : {}),
    })
    const recorder = await journal.open(facts)
    for (let i = 0; i < 5; i++) {
      const data = Buffer.from([0, 255, i])
      const body = { text: `select ${i} -- Zürich 🙂`, n: 2 ** 40 + i, data, list: [null, true, -1] }
      recorder.append([{ conn: 'con_1', kind: 'statement', body }])
      recorder.originals?.append([{ conn: 'con_1', kind: 'input', body: { data: Buffer.from('hush') } }])
    }
    if (killed) {
      cpSync(join(elsewhere, side.process_id), join(world.folder, 'spool', side.process_id), { recursive: true })
      orphan(join(world.folder, 'spool'), side.process_id)
      await world.die(side)
      continue
    }
    await recorder.close('done')
    await journal.recoverDue()
    await until(() => journal.pending === 0)
    await journal.close()
  }
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  return facts
}

/** The one that most tests look at: each has its own copy of it. */
let usual: Promise<SessionFacts> | undefined
const recordedOnce = () => (usual ??= recorded([world.recipient]))

let exports = 0
async function exported(facts: SessionFacts): Promise<string> {
  const folder = join(world.folder, `exported-${++exports}`)
  await exportRecording({ ...world.replay, store: world.store, session_id: facts.session_id, folder, reason: 'a case' })
  return folder
}

const lines = async (folder: string, ...identities: string[]) => {
  const found: ExportedLine[] = []
  for await (const line of openExported(
    folder,
    identities.map(each => new Secret(each)),
  ))
    found.push(line)
  return found
}

describe('RE7: keys of recordings', () => {
  test('RE7: after a rotation old and new recordings play, a recovery recipient opens both, another identity neither', async () => {
    const [old, fresh, recovery, stranger] = [await pair(), await pair(), await pair(), await pair()]
    const before = await recorded([old.recipient, recovery.recipient])
    const after = await recorded([fresh.recipient, recovery.recipient])
    const verify = async (file: string, facts: SessionFacts) => {
      const reader = new Reader({ ...world.replay, store: world.store, identities: [new Secret(file)] })
      return await reader.verify(facts.session_id)
    }
    const rotated = `# created: before\n${old.identity}\n# created: now\n${fresh.identity}\n`
    expect(await verify(rotated, before)).toMatchObject({ ok: true })
    expect(await verify(rotated, after)).toMatchObject({ ok: true })
    expect(await verify(recovery.identity, before)).toMatchObject({ ok: true })
    expect(await verify(recovery.identity, after)).toMatchObject({ ok: true })
    const problem = expect.stringContaining('wrapped for other recipients, or is damaged') as string
    expect(await verify(fresh.identity, before)).toMatchObject({ ok: false, problem })
    expect(await verify(stranger.identity, after)).toMatchObject({ ok: false, problem })
  })

  test('RE7: the gateway cannot read a wrapped key back, and no file of it holds one in clear', async () => {
    await expect(world.gateway.database.sql`select wrapped from recording_keys limit 1`).rejects.toThrow(
      'permission denied',
    )
  })

  test('RE7: any age tool opens the key of a part', async () => {
    const facts = await recordedOnce()
    const rows = await world.test.database.sql<{ wrapped: Buffer }[]>`
      select wrapped from recording_keys k join recordings r on r.id = k.recording_id
      where r.session_id = ${facts.session_id} and part = 1`
    const file = join(world.folder, 'identity')
    writeFileSync(file, `${world.identity.reveal()}\n`)
    const age = spawnSync('age', ['--decrypt', '--identity', file], { input: rows[0]!.wrapped })
    expect(age.stderr.toString()).toBe('')
    const key = await unwrapPartKey([world.identity], rows[0]!.wrapped)
    expect(age.stdout.equals(key.export())).toBe(true)
    writeFileSync(file, `${await generateX25519Identity()}\n`)
    expect(spawnSync('age', ['-d', '-i', file], { input: rows[0]!.wrapped }).status).not.toBe(0)
  })
})

describe('a sealed recording as files', () => {
  test('opens with an identity alone, whole and in the order of time; that it was copied is an event', async () => {
    const facts = await recordedOnce()
    const folder = await exported(facts)
    const found = await lines(folder, world.identity.reveal())
    expect(found[0]).toMatchObject({ kind: 'recording', session_id: facts.session_id, layers: ['masked'] })
    expect(found.filter(line => line.kind === 'statement')).toHaveLength(10)
    expect(found.at(-1)).toMatchObject({ kind: 'end', ok: true, state: 'interrupted' })
    const both = await lines(folder, world.identity.reveal(), world.originals.identity.reveal())
    expect(both.filter(line => line.kind === 'input')).toHaveLength(10)
    const times = both.slice(1, -1).map(line => line['at_ms'] as number)
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect((await world.events(facts.session_id)).at(-1)).toMatchObject({
      type: 'recording.exported',
      body: { reason: 'a case' },
    })
  })

  test('RE7, RE3: a wrong identity is told so, what was changed is named, and the command fails', async () => {
    const folder = await exported(await recordedOnce())
    await expect(lines(folder, await generateX25519Identity())).rejects.toThrow('wrapped for other recipients')
    const identity = join(world.folder, 'right')
    writeFileSync(identity, world.identity.reveal())
    const said = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    const open = async () => {
      said.mockClear()
      const code = await openSealed(folder, { identity: [identity] })
      return { code, stdout: said.mock.calls.map(([text]) => String(text)).join('') }
    }
    const whole = await open()
    expect(whole.code).toBe(0)
    expect(whole.stdout).toContain('select 4 -- Zürich')
    const { parts } = JSON.parse(readFileSync(join(folder, 'recording.json'), 'utf8')) as {
      parts: { segments: { file: string }[] }[]
    }
    const file = join(folder, parts[0]!.segments[0]!.file)
    const bytes = readFileSync(file)
    bytes[bytes.length - 20]! ^= 1
    writeFileSync(file, bytes)
    const damaged = await open()
    expect(damaged.code).toBe(1)
    expect(damaged.stdout).toContain('the recording is damaged at part 1, segment 0')
    rmSync(join(folder, 'recording.json'))
    mkdirSync(join(folder, 'recording.json'))
    await expect(open()).rejects.toThrow('is no exported recording')
    said.mockRestore()
  })

  test('a hostile folder is none: a pipe holds nothing up, a link leads nowhere, a seal of another form is said', async () => {
    const folder = await exported(await recordedOnce())
    const path = join(folder, 'recording.json')
    const whole = JSON.parse(readFileSync(path, 'utf8')) as { parts: { segments: { file: string }[] }[] }
    for (const seal of [
      null,
      7,
      {},
      { recording_id: 'x', parts: [null] },
      { recording_id: 'x', parts: [{ part: 1 }] },
    ]) {
      writeFileSync(path, JSON.stringify({ ...whole, seal }))
      await expect(lines(folder, world.identity.reveal())).rejects.toThrow('is no exported recording')
    }
    writeFileSync(path, JSON.stringify(whole))
    const segment = join(folder, whole.parts[0]!.segments[0]!.file)
    for (const replace of [() => spawnSync('mkfifo', [segment]), () => symlinkSync('/dev/zero', segment)]) {
      rmSync(segment)
      replace()
      const found = await lines(folder, world.identity.reveal())
      expect(found.at(-1)).toMatchObject({ ok: false, problem: expect.stringContaining('cannot be read') })
    }
    rmSync(path)
    spawnSync('mkfifo', [path])
    await expect(lines(folder, world.identity.reveal())).rejects.toThrow('is no exported recording')
  })

  test('one that still grows, or was deleted, is not exported', async () => {
    const journal = await world.journal({ process_id: (await world.process()).process_id })
    const facts = sessionFacts()
    await journal.open(facts)
    await expect(exported(facts)).rejects.toThrow(SallyportError)
    await journal.close()
  })
})

describe('a reader in another language, written from the description alone', () => {
  const reader = resolve('test/recording/reader.py')

  test('opens key, segments and records of a session and checks chain and seal: the same events as ours', async () => {
    const folder = await exported(await recordedOnce())
    const identity = join(world.folder, 'both')
    writeFileSync(identity, `# two layers\n${world.identity.reveal()}\n${world.originals.identity.reveal()}\n`)
    const read = () => runCommand([pythonWith(['cryptography', 'brotli', 'msgpack']), reader, folder, identity])
    const theirs = await read()
    expect(theirs).toMatchObject({ code: 0, stderr: '' })
    const events = theirs.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>)
    expect(events.pop()).toEqual({ kind: 'end', ok: true })
    const ours = await lines(folder, readFileSync(identity, 'utf8'))
    const plain = (line: object) => JSON.parse(JSON.stringify(line, base64)) as Record<string, unknown>
    const place = (event: Record<string, unknown>) => Number(event['part']) * 1e6 + Number(event['seq'])
    const expected = ours
      .slice(1, -1)
      .map(plain)
      .toSorted((a, b) => place(a) - place(b))
    expect(events.map(({ t: _, at_us, ...event }) => ({ ...event, at_ms: Number(at_us) / 1000 }))).toEqual(expected)
    const { parts } = JSON.parse(readFileSync(join(folder, 'recording.json'), 'utf8')) as {
      parts: { segments: { file: string }[] }[]
    }
    for (const part of parts.slice(0, 2)) {
      const file = join(folder, part.segments[0]!.file)
      const bytes = readFileSync(file)
      const changed = Buffer.from(bytes)
      changed[100]! ^= 1
      writeFileSync(file, changed)
      expect((await read()).code).not.toBe(0)
      writeFileSync(file, bytes)
    }
    expect((await read()).code).toBe(0)
  })
})

function base64(_: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') }
  const json = value as { type?: unknown; data?: number[] } | null
  if (typeof json === 'object' && json?.type === 'Buffer')
    return { base64: Buffer.from(json.data ?? []).toString('base64') }
  return value
}
