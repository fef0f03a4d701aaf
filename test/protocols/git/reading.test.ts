import { describe, expect, test } from 'vitest'
import { withReadings } from '../../../src/api/replay-readings.ts'
import { replayPage } from '../../../src/evidence/replay-page.ts'
import { Registry } from '../../../src/gateway/registry.ts'
import { allProtocols } from '../../../src/protocols/all.ts'
import { type ReplayLine, renderLine } from '../../../src/recording/render.ts'
import { readingOf, renderRead } from '../../../src/recording/render-reading.ts'

const registry = new Registry(allProtocols)
const readings = registry.readingsOf('git')
const [before, after] = ['a'.repeat(40), 'b'.repeat(40)]
const hostile = '<img src=x onerror=alert(1)>\u001b]52;c;x\u0007\u202e'

const at = (kind: string, body: object, seq = 1): ReplayLine => ({
  at_ms: 1_764_000_000_000,
  part: 1,
  conn: 'con_abcdef123456',
  seq,
  kind,
  ...body,
})
const forced = at('git_push', {
  repository: 'team/app',
  ref: 'refs/heads/topic',
  old: before,
  new: after,
  change: 'force',
  commits: [{ id: after, author: 'ada@example.test', subject: hostile, signed: 'verified' }],
  commits_total: 3,
  lost: [before],
  lost_total: 2,
  paths: [{ path: `dir/${hostile}`, change: 'modified', bytes: 2048, added: 1, removed: 2 }],
  paths_total: 1,
  secrets: 0,
})

describe('a session of git in a replay', () => {
  test('a forced push says what it replaces, with commits, signatures, paths and what is lost', () => {
    const text = renderRead(forced, readings)
    expect(text).toContain('forced push to refs/heads/topic of team/app  [aaaaaaaaaaaa → bbbbbbbbbbbb]  [forced]')
    expect(text).toMatch(/bbbbbbbbbbbb {2}verified {2}ada@example\.test {2}</)
    expect(text).toMatch(/modified {2}dir\/.* 2\.0 KiB {2}\+1 −2/)
    expect(text).toContain('[2 lost]')
    expect(text).toContain('… and 2 more')
    const kinds = ['create', 'delete', 'fast-forward', 'force', 'unknown']
    const titles = kinds.map(change => readingOf(readings, { ...forced, change })!.title)
    expect(new Set(titles).size).toBe(4)
  })

  test('a refusal says rule and place; what was lost, how it comes back', () => {
    const said = at('statement', {
      effect: 'deny',
      actions: 'push',
      rule: 'action.git-force (action/git.rego:9@c0ffee)',
      message: 'no',
    })
    expect(renderRead(said, readings)).toMatch(
      /refused push: no\n.*rule.*action\.git-force \(action\/git\.rego:9@c0ffee\)/,
    )
    const lost = { resource: 'forge', repository: 'team/app', ref: 'refs/heads/topic', lost: [before], lost_total: 1 }
    const kept = renderRead(at('git_lost', { ...lost, id: '0123456789abcdef', kept: true, bytes: 10 }), readings)
    expect(kept).toContain('$ sallyport git restore forge team/app 0123456789abcdef')
    const gone = renderRead(at('git_lost', { ...lost, kept: false, why: 'its files are too large' }), readings)
    expect(gone).toContain('which are not kept')
    expect(gone).toContain('its files are too large')
    expect(gone).not.toContain('$ ')
  })

  test('RE6: hostile names of refs, authors and paths reach neither a terminal nor a page as more than text', async () => {
    const named = { ...forced, ref: `refs/heads/${hostile}`, repository: hostile }
    for (const line of [
      forced,
      named,
      at('git_ref', { ref: hostile, done: false, why: hostile }),
      at('git_lost', named),
    ])
      expect(renderRead(line, readings).replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    const lines = async function* () {
      yield { kind: 'recording', protocol: 'git', subject_name: hostile, started_at_ms: 0 }
      yield named
      yield { kind: 'end', ok: true }
    }
    let page = ''
    for await (const piece of replayPage(lines(), name => registry.readingsOf(name))) page += piece
    expect(page).toContain('forced push to refs/heads/&lt;img src=x')
    expect(page).not.toContain('<img')
  })

  test('whatever a recording holds is shown, and nothing of it is a fault', () => {
    for (const kind of Object.keys(readings))
      for (const odd of [null, 7, 'x', [], [null, 3], {}, [{ id: {} }]]) {
        const members = Object.keys(forced).filter(name => !['kind', 'at_ms', 'conn', 'part', 'seq'].includes(name))
        const line = at(kind, Object.fromEntries([...members, 'why', 'id', 'kept', 'done'].map(name => [name, odd])))
        expect(typeof renderRead(line, readings)).toBe('string')
      }
    const unknown = at('never_heard_of', { a: 1 })
    expect(renderRead(unknown, readings)).toBe(renderLine(unknown))
    expect(readingOf(readings, at('toString', {}))).toBeUndefined()
  })
})

test('the outline carries readings in the place of facts, wherever its bytes are split, and all else as it was', async () => {
  const other = at('channel_open', { channel: 0 }, 2)
  const lines = [{ kind: 'recording', session_id: 'ses_1', protocol: 'git' }, forced, other, { kind: 'end', ok: true }]
  const bytes = Buffer.from(lines.map(line => `${JSON.stringify(line)}\n`).join(''))
  for (const size of [1, 7, 100, bytes.length]) {
    const chunks = async function* () {
      for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size)
    }
    let text = ''
    for await (const piece of withReadings(chunks(), registry)) text += piece
    const read = text
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    expect([read[0], read[2], read[3]]).toEqual([lines[0], other, lines[3]])
    expect(read[1]).toMatchObject({ kind: 'git_push', seq: 1, reading: { tone: 'bad' } })
    expect(read[1].commits).toBeUndefined()
  }
})
