import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '../../src/db/database.ts'
import { backup } from '../audit/support.ts'
import { replaced } from '../support/policy-edits.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** RT1, RT2: what policy no longer keeps goes, key first; a legal hold stops it; a receipt and the log remain. */
let world: TestWorld
const kept: Record<'plain' | 'held', string> = { plain: '', held: '' }
beforeAll(async () => {
  world = await startWorld({ tuning: { gateway_workers: 1, mirror_s: 1 } })
  await world.grant(world.person.erin)
  for (const which of ['plain', 'held'] as const) kept[which] = await recorded(`select 'recording', '${which}';`)
})
afterAll(() => world?.stop())

async function recorded(statement: string): Promise<string> {
  const { erin } = world.person
  const ticket = await erin.ticket()
  expect((await erin.psql(ticket, statement)).code).toBe(0)
  const { id } = await world.sessionOf(ticket.id)
  await erin.post(`/api/sessions/${id}/end`, { reason: 'done' })
  await world.until(async () => expect(await stateOf(id)).toBe('sealed'), 40_000)
  return id
}

async function stateOf(session: string): Promise<string> {
  const [row] = await world.owner<{ state: string }[]>`select state from recordings where session_id = ${session}`
  return row?.state ?? 'none'
}

/** The sweep catches up with whatever was missed when control starts. */
async function restartControl(): Promise<void> {
  const control = running ?? world.dev.children.control
  await control.stop()
  running = await world.startControl()
}
let running: Awaited<ReturnType<TestWorld['startControl']>> | undefined

function stored(): string[] {
  const folder = join(world.dev.dataDir, 'data/recordings')
  return existsSync(folder) ? readdirSync(folder, { recursive: true }).map(String) : []
}

describe('RT1, RT2: a policy that keeps recordings for a second', () => {
  test('both play before', async () => {
    for (const which of ['plain', 'held'] as const) {
      const played = await world.person.ava.cli('replay', kept[which], '--text')
      expect(played).toMatchObject({ code: 0, stdout: expect.stringContaining(`recording | ${which}`) })
    }
  })

  test('deletes what expired, and not what a legal hold keeps', async () => {
    const { sam, ava } = world.person
    expect(await sam.cli('hold', kept.held, '--case', 'C-1', '--reason', 'a lawsuit')).toMatchObject({ code: 0 })
    const lower = ['retention', 'floor', 'recording', '--keep', '0s', '--reason', 'made-up data']
    const proposal = /prp_\w+/.exec((await sam.cli(...lower)).stdout)?.[0] ?? 'none was made'
    expect(await ava.cli('confirm', proposal)).toMatchObject({ code: 0 })
    expect((await ava.cli('hold', kept.held, '--reason', 'not mine to set')).code).toBe(1)
    const before = stored().length
    await world.activate({
      'retention/retention.rego': text => replaced(text, '"keep_s": 90 * day', '"keep_s": 1'),
    })
    const preview = (await ava.cli('retention', 'preview')).stdout
    expect(preview).toContain(kept.plain)
    expect(preview).not.toContain(kept.held)
    await restartControl()
    await world.until(async () => expect(await stateOf(kept.plain)).toBe('deleted'), 40_000)
    expect(await stateOf(kept.held)).toBe('sealed')
    await world.until(() => expect(stored().length).toBeLessThan(before))
    const keys = await world.owner`
      select k.wrapped from recording_keys k join recordings r on r.id = k.recording_id
      where r.session_id = ${kept.plain} and k.wrapped is not null`
    expect(keys).toEqual([])
  })

  test('leaves a receipt that names the revision, and an event that is proved', async () => {
    const { ava } = world.person
    const { body } = await ava.get(`/api/recordings/${kept.plain}`)
    const [active] = await world.owner<
      { commit: string }[]
    >`select commit from revisions order by generation desc limit 1`
    expect(body['receipt']).toMatchObject({
      commit: active!.commit,
      keep_s: 1,
      keys_destroyed: 1,
      step: 'done',
      seal_hash: body['seal_hash'],
    })
    expect((await ava.cli('sessions')).stdout).toMatch(/deleted [-0-9]+ [:0-9]+Z by policy/)
    const played = await ava.cli('replay', kept.plain, '--text')
    expect(played.code).toBe(1)
    expect(played.stderr).toContain('deleted')
    const events = await world.until(async () => {
      const answer = await ava.get(`/api/audit/events?type=recording.deleted&session_id=${kept.plain}`)
      const items = answer.body['items'] as { id: string; index: number | null }[]
      expect(items[0]?.index).toEqual(expect.any(Number))
      return items
    })
    expect(await ava.cli('audit', 'prove', events[0]!.id, '--output', 'deleted.json')).toMatchObject({ code: 0 })
    expect(await ava.cli('verify', 'deleted.json')).toMatchObject({ code: 0 })
    expect(await world.hostCli('audit', 'verify')).toMatchObject({ code: 0 })
  })

  test('deletes the other too once its hold is lifted', async () => {
    const { sam, ava } = world.person
    expect(await ava.cli('replay', kept.held, '--text')).toMatchObject({ code: 0 })
    expect(await sam.cli('unhold', '--case', 'C-1', '--reason', 'settled')).toMatchObject({ code: 0 })
    expect(await sam.cli('unhold', kept.held, '--reason', 'again')).toMatchObject({ code: 1 })
    await restartControl()
    await world.until(async () => expect(await stateOf(kept.held)).toBe('deleted'), 40_000)
    expect(await world.hostCli('audit', 'verify')).toMatchObject({ code: 0 })
  })
})

describe('RE4: an old backup is put back, and the copy beside it is cut to fit', () => {
  test('the mirror, a git repository elsewhere, shows it: `audit verify` names it, and nothing is signed any more', async () => {
    const { ava } = world.person
    const copy = join(world.dev.dataDir, 'audit-copy')
    const mirrored = () => sizeOf(git('cat-file', 'blob', 'main:checkpoint'))
    const copied = readFileSync(copy)
    const restore = await backup({ sql: world.owner } as unknown as Database)
    const size = sizeOf(JSON.parse(copied.toString('utf8').trimEnd().split('\n').at(-1)!).note)
    await world.until(async () => {
      await ava.get('/api/audit/events') // each call is decided, and what was decided becomes an entry
      expect(mirrored()).toBeGreaterThan(size + 1)
    }, 30_000)
    expect((await world.hostCli('audit', 'verify')).stdout).toMatch(
      /outside place mirror: its checkpoint for \d+ entries fits/,
    )

    await running!.stop()
    for (const gateway of [world.dev.children.gateway, world.dev.children.replay]) await gateway.stop()
    await restore()
    writeFileSync(copy, copied)
    const verified = await world.hostCli('audit', 'verify')
    expect(verified.code).toBe(1)
    expect(verified.stdout).toMatch(/FLAW log_truncated .*mirror knows of \d+ signed entries, the database has \d+/)
    running = await world.startControl()
    await world.until(async () => {
      expect((await ava.cli('status')).stdout).toMatch(/went back by \d+/)
    }, 20_000)
    expect(mirrored()).toBeGreaterThan(size + 1)
  })
})

const git = (...args: string[]) =>
  execFileSync('git', ['--git-dir', join(world.dev.dataDir, 'audit-mirror.git'), ...args], { encoding: 'utf8' })
const sizeOf = (note: string) => Number(note.split('\n')[1])
