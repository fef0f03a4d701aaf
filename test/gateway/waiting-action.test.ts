import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { HoldState } from '../../src/approvals/hold.ts'
import { exhibit, harmless, mostText } from '../../src/gateway/holds/shown.ts'
import { type HeldGate, type HeldStore, WaitingAction } from '../../src/gateway/holds/waiting-action.ts'
import type { LiveSession } from '../../src/gateway/live-session.ts'
import { SessionModeration } from '../../src/gateway/moderation/moderation.ts'
import type { Shown, Verdict, Waits } from '../../src/gateway/protocol.ts'
import type { Decision } from '../../src/policy/decision.ts'

const decision = {
  reasons: [{ rule: 'r', message: 'looked at first', at: 'f.rego:1@c' }],
} as unknown as Decision<'action'>
const terms = { stages: [{ approvers: ['dbas'], quorum: 2, channel: 'c' }], expires_s: 60 }
const vote = (approver: string) => ({ approver, groups: ['dbas'], stage: 0, answer: 'approve', at_ms: 1 })
const state = (now: HoldState['state'], votes = [vote('sub_a'), vote('sub_b')]): HoldState => ({
  state: now,
  outcome: now === 'approved' ? 'approved by b' : null,
  terms,
  votes,
  names: { sub_a: 'Ann', sub_b: 'Bob' },
})

function waits(
  options: { moderators?: string[]; allows?: () => boolean; release?: () => Promise<string | undefined> } = {},
) {
  const moderation = new SessionModeration('ses_1', { moderators: options.moderators ?? [], idle_s: 60 })
  const ended = new AbortController()
  const log: string[] = []
  const gate: HeldGate = {
    session: { moderation } as LiveSession,
    ended: ended.signal,
    decision,
    terms,
    again: () => ({ decision, allowed: options.allows?.() ?? true }),
    voted: (_, words) => log.push(`voted: ${words}`),
    allow: () => {
      log.push('allowed')
      return { allowed: true } as Verdict
    },
    refuse: (_, why) => {
      log.push(`refused: ${why}`)
      return { allowed: false, message: why } as Verdict
    },
  }
  const store: HeldStore = {
    origin: 'https://x',
    release: () => {
      log.push('released')
      return options.release?.() ?? Promise.resolve(undefined)
    },
    withdrawn: (_, why) => log.push(`withdrawn: ${why}`),
    refused: (_, why) => log.push(`told: ${why}`),
    settled: () => log.push('settled'),
  }
  const hold = new WaitingAction('req_1', gate, store)
  const lines: string[] = []
  hold.onProgress(line => lines.push(line))
  return { hold, log, lines, moderation, ended }
}

describe('an action that waits', () => {
  test('says by which rule, for whom and where, then each vote', async () => {
    const { hold, lines } = waits()
    hold.placed()
    hold.look(state('pending', [vote('sub_a')]))
    hold.look(state('pending', [vote('sub_a')]))
    hold.look(state('approved'))
    expect((await hold.settled).allowed).toBe(true)
    expect(lines).toEqual([
      'looked at first (r, f.rego:1@c)',
      'waits for an approval by 2 of dbas: https://x/requests/req_1',
      'approved by Ann (1 of 2)',
      'approved by Bob (2 of 2)',
      'it goes on',
    ])
  })

  test('is released once, however often it is told that it was approved', async () => {
    const { hold, log } = waits()
    for (let i = 0; i < 3; i++) hold.look(state('approved'))
    await hold.settled
    hold.look(state('approved'))
    hold.withdraw('too late')
    expect(log.filter(line => line === 'released' || line === 'allowed')).toEqual(['released', 'allowed'])
  })

  test('does not go on when it is withdrawn, or its session ends, while it is being released', async () => {
    for (const end of ['withdraw', 'ended'] as const) {
      let go = (_: undefined) => {}
      const { hold, log, ended } = waits({ release: () => new Promise(resolve => (go = resolve)) })
      hold.look(state('approved'))
      await sleep(1)
      if (end === 'withdraw') hold.withdraw('gone')
      else ended.abort()
      go(undefined)
      expect((await hold.settled).allowed).toBe(false)
      await sleep(1)
      expect(log).not.toContain('allowed')
      expect(log).toContain('told: nobody waited for it any more')
    }
  })

  test('is decided by policy as it is when it is released, and once more after', async () => {
    let asked = 0
    for (const lastAllowed of [0, 1]) {
      asked = 0
      const { hold, log } = waits({ allows: () => asked++ < lastAllowed })
      hold.look(state('approved'))
      expect(await hold.settled).toMatchObject({ allowed: false, message: expect.stringContaining('as it is now') })
      expect(log).not.toContain('allowed')
    }
  })

  test('waits for its moderator too, and neither waits for the other for ever', async () => {
    const { hold, log, lines, moderation } = waits({ moderators: ['security'] })
    hold.look(state('approved'))
    await sleep(300)
    expect(log).not.toContain('released')
    expect(lines.join()).toContain('waiting for a moderator (security)')
    moderation.seen(true, performance.now())
    expect((await hold.settled).allowed).toBe(true)
    const other = waits({ moderators: ['security'] })
    other.hold.look(state('approved'))
    other.hold.withdraw('Ctrl-C')
    expect((await other.hold.settled).allowed).toBe(false)
    await sleep(300)
    expect(other.log).not.toContain('released')
  })

  test('does not go on unwatched when its moderator leaves while it is being released', async () => {
    let go = (_: undefined) => {}
    const { hold, log, moderation } = waits({
      moderators: ['security'],
      release: () => new Promise(resolve => (go = resolve)),
    })
    moderation.seen(true, performance.now())
    hold.look(state('approved'))
    await sleep(1)
    moderation.seen(false, performance.now())
    go(undefined)
    await sleep(10)
    expect(log).not.toContain('allowed')
    moderation.seen(true, performance.now())
    expect((await hold.settled).allowed).toBe(true)
    expect(log.filter(line => line === 'released')).toHaveLength(1)
  })

  test('of a session that has ended already is refused at once', async () => {
    const { hold, ended } = waits()
    ended.abort()
    expect(await hold.settled).toMatchObject({ allowed: false, message: 'the session has ended' })
  })
})

describe('what approvers see', () => {
  const about = (shown: Shown[] = [], title = 'delete on orders'): Waits => ({ title, shown: () => shown })

  test('names what looks like a secret, and shows what would hide or turn around', () => {
    expect(harmless('x AKIAABCDEFGHIJKLMNOP y\u202e\u0000\u200b\n')).toBe('x [access_key] y\\u{202e}\\u{0}\\u{200b}\n')
    // Letters and marks that take no room, and pictures that stay what they are.
    expect(harmless('a\ufe0fb \u3164 x\u034fy \u2800 \u{e0100}')).toBe(
      'a\\u{fe0f}b \\u{3164} x\\u{34f}y \\u{2800} \\u{e0100}',
    )
    expect(harmless('\u267b\ufe0f e\u0301 \u6f22')).toBe('\u267b\ufe0f e\u0301 \u6f22')
    const seen = exhibit(
      about([{ label: 'Paths', lines: ['a\nb', 'mail ada@example.com'] }], 'push\u0007 main'),
      'select 1',
    )
    expect(seen).toEqual({
      title: 'push\\u{7} main',
      text: 'select 1',
      shown: [{ label: 'Paths', lines: ['a\\nb', 'mail [email]'] }],
    })
  })

  test('is all of it, or it does not wait; lists say how much is left out', () => {
    expect(exhibit(about(), 'x'.repeat(mostText + 1))).toBeUndefined()
    const [part] = exhibit(about([{ label: 'Commits', lines: Array(1250).fill('c'), more: 5 }]), null)!.shown
    expect([part!.lines.length, part!.more]).toEqual([1000, 255])
    const long = { label: 'Paths', lines: Array(700).fill('x'.repeat(900)) }
    const rest = { label: 'main', lines: ['force'], whole: true } as const
    const [first, second, third] = exhibit(about([long, long, rest]), null)!.shown
    expect([first!.lines.length, first!.more, second!.lines.length, second!.more]).toEqual([524, 176, 0, 700])
    expect(third).toEqual({ label: 'main', lines: ['force'] })
    expect(exhibit(about([{ ...rest, lines: Array(201).fill('$1') }]), null)).toBeUndefined()
  })
})
