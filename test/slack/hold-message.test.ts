import { describe, expect, test } from 'vitest'
import type { RequestView } from '../../src/approvals/view.ts'
import { approverMessage } from '../../src/slack/request-message.ts'

const waits: RequestView = {
  id: `req_${'0'.repeat(26)}`,
  kind: 'hold',
  hash: 'a'.repeat(64),
  subject: { id: 'sub_1', name: 'Erin', email: 'erin@example.com' },
  on_behalf_of: null,
  resource: 'code',
  role: 'writer',
  duration_s: 0,
  reason: 'push to main of team/app',
  ticket_ref: null,
  via: 'git',
  state: 'pending',
  created_at_ms: 0,
  expires_at_ms: 900_000,
  ended_at_ms: null,
  outcome: null,
  decision_id: 'dec_1',
  terms: { stages: [{ approvers: ['dbas'], quorum: 1, channel: 'c' }], expires_s: 900 },
  votes: [],
  hold: { session_id: 'ses_1', text: 'push', shown: [], released_at_ms: null, unused: null },
  grant: null,
}
const shown = (change: Partial<RequestView> = {}, hold: Partial<NonNullable<RequestView['hold']>> = {}) =>
  approverMessage({ ...waits, ...change, hold: { ...waits.hold!, ...hold } }, 0, [], {
    open: (change.state ?? 'pending') === 'pending',
    zone: 'UTC',
    origin: 'https://x.example',
  })
const textOf = (message: ReturnType<typeof shown>) => JSON.stringify(message.blocks)

/** What Slack's reference says of blocks, and what its servers refuse beyond it (msg_blocks_too_long). */
function fits({ text, blocks }: ReturnType<typeof shown>): void {
  expect(text.length).toBeLessThan(4000)
  expect(blocks.length).toBeLessThanOrEqual(50)
  const sent = JSON.stringify(blocks).replace(/[^\u0020-\u007e]/g, '......')
  expect(sent.length).toBeLessThan(13_000)
  for (const block of blocks as unknown as Record<string, { text?: string; length?: number }>[]) {
    const kind = String(block['type'])
    if (kind === 'header') expect(block['text']!.text!.length).toBeLessThanOrEqual(150)
    if (kind === 'section' && block['text'] !== undefined) expect(block['text'].text!.length).toBeLessThanOrEqual(3000)
    // Nothing that a person wrote stands where markup is read.
    expect(JSON.stringify(block)).not.toContain('"mrkdwn"')
    expect(JSON.stringify(block)).not.toContain('"text":""')
  }
}

describe('an action that waits, in Slack', () => {
  test('is shown with its commits, paths and diffstat, and whatever names are in it stand as text', () => {
    const hostile = '<!channel> <https://evil.example|approve> *bold* `code` &amp; \\u{202e}'
    const message = shown(
      { reason: `push to ${hostile}` },
      {
        text: `push team/app refs/heads/main ${hostile}`,
        shown: [
          { label: `refs/heads/${hostile}: commits`, lines: [`0123456789 Eve <eve@example.com> ${hostile}`] },
          { label: 'refs/heads/main: paths', lines: ['M src/a.ts +3 −1', `A ${hostile} +1 −0`], more: 7 },
        ],
      },
    )
    fits(message)
    const text = textOf(message)
    for (const part of [
      '0123456789 Eve',
      'M src/a.ts +3 −1',
      'and 7 more',
      '<!channel>',
      'https://x.example/requests/req_',
    ])
      expect(text).toContain(part)
    expect(message.text).toContain('&lt;!channel&gt;') // the one field that Slack reads as markup
  })

  test.each([
    ['ASCII', 'x'],
    ['that is escaped where it is sent', '\u00e4'],
    ['beyond the first plane', '\u{1f600}'],
  ])('fits into a message however long it is (%s), and says what is left out', (_what, letter) => {
    const long = letter.repeat(60_000)
    const lines = Array.from({ length: 200 }, (_, i) => `${i} ${letter.repeat(400)}`)
    const message = shown(
      {
        reason: letter.repeat(150),
        subject: { id: 's', name: letter.repeat(100), email: null },
        votes: Array.from({ length: 40 }, (_, i) => ({
          approver: { id: `sub_${i}`, name: 'n'.repeat(60) },
          answer: 'approve' as const,
          stage: 0,
          at_ms: 1,
          via: 'web',
        })),
      },
      {
        text: long,
        shown: Array.from({ length: 64 }, (_, i) => ({ label: `part ${i} ${letter.repeat(70)}`, lines, more: 5 })),
      },
    )
    fits(message)
    const text = textOf(message)
    expect(text).toContain('characters are left out')
    expect(text).toMatch(/… and \d+ more: https/)
    expect(text).toMatch(/more parts are not shown here, read all of it at https/)
    expect(text).toContain('35 earlier votes')
  })

  test.each([
    [{ state: 'denied', outcome: 'denied by Dana' }, {}, '✗ Denied by Dana'],
    [{ state: 'expired', outcome: 'nobody answered in time' }, {}, '✗ Expired: nobody answered in time'],
    [{ state: 'cancelled', outcome: 'the client closed it' }, {}, '✗ Cancelled: the client closed it'],
    [{ state: 'approved', outcome: 'approved by Dana' }, {}, '✓ Approved by Dana · it has not gone on yet'],
    [
      { state: 'approved', outcome: 'approved by Dana' },
      { released_at_ms: 60_000 },
      '✓ Approved by Dana · it went on at 1970-01-01 00:01 UTC',
    ],
    [
      { state: 'approved', outcome: 'approved by Dana' },
      { unused: 'the client is gone' },
      '✗ Approved by Dana · it did not run: the client is gone',
    ],
    [
      { state: 'approved', outcome: 'approved by Dana' },
      { released_at_ms: 1, unused: 'policy as it is now' },
      '✗ Approved by Dana · it did not run: policy as it is now',
    ],
  ] as const)('ends with what became of it: %j %j', (change, hold, words) => {
    const message = shown(change, hold)
    expect(textOf(message)).toContain(`"${words}"`)
    expect(textOf(message)).not.toContain('"button"')
  })
})
