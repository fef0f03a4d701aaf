import { expect, test } from 'vitest'
import { replayPage } from '../../src/evidence/replay-page.ts'
import type { ReplayLine } from '../../src/recording/render.ts'

async function pageOf(lines: readonly ReplayLine[]): Promise<string> {
  const from = async function* () {
    yield* lines
  }
  let text = ''
  for await (const part of replayPage(from())) text += part
  return text
}

const evil = '<script>alert(1)</script>\u001b]0;title\u0007\u001b[31m\u202e'
const head = {
  kind: 'recording',
  session_id: 'ses_1',
  subject_name: evil,
  role: 'reader',
  resource: evil,
  started_at_ms: 0,
  view: 'masked',
  decision_id: 'dec_1',
}

test('RE6: an exported page runs nothing, whatever was recorded, and a terminal is text in it', async () => {
  const data = { base64: Buffer.from(`h\u001b[1mello${evil}\r\n`).toString('base64') }
  const text = await pageOf([
    head,
    { kind: 'statement', at_ms: 5, conn: 'con_1', text: evil },
    { kind: 'output', at_ms: 6, conn: 'con_1', channel: 0, stream: 'out', data },
    { kind: 'end', ok: true, state: 'sealed', problem: null },
  ])
  expect(text).not.toMatch(/<script|[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
  expect(text).toContain('hello&lt;script&gt;')
  expect(text).toContain("default-src 'none'; style-src 'sha256-")
  expect(text).not.toContain('This is not all of it')
})

test('one that was cut off says so', async () => {
  expect(await pageOf([head])).toContain('This is not all of it')
  expect(await pageOf([head, { kind: 'end', ok: false, problem: 'x' }])).toContain('This is not all of it')
})
