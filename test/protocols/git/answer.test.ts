import { expect, test } from 'vitest'
import type { CommandChannel } from '../../../src/gateway/protocol.ts'
import { PushAnswer } from '../../../src/protocols/git/answer.ts'
import { dataLine, flushLine, PktReader } from '../../../src/protocols/git/pack/pkt-line.ts'

const [one, two] = ['1', '2'].map(digit => digit.repeat(40)) as [string, string]
const band = (n: number, bytes: Buffer | string) =>
  dataLine(Buffer.concat([Buffer.of(n), Buffer.from(bytes as string)]))

/** The answer to a push of these refs, all of which the server was asked for. */
function answerTo(...refs: string[]) {
  const recorded: Record<string, unknown>[] = []
  let told = Buffer.alloc(0)
  const channel = {
    id: 1,
    opened: {
      resource: { name: 'forge' },
      gate: { record: (kind: string, members: object) => recorded.push({ kind, ...members }) },
    },
    toClient: (bytes: Buffer) => void (told = Buffer.concat([told, bytes])),
  } as unknown as CommandChannel
  const answer = new PushAnswer(channel, { name: 'app' } as never)
  const commands = refs.map(ref => ({ ref, old: one, new: two }))
  const capabilities = new Map(['report-status', 'side-band-64k'].map(name => [name, null] as const))
  answer.begin({ commands, shallow: [], capabilities, capabilityText: '', options: [] })
  answer.passes(
    commands.map(each => ({ ...each, asked: each.ref, perhaps: [] })),
    true,
  )
  return {
    answer,
    results: () => recorded.filter(each => each['kind'] === 'git_ref').map(({ ref, done, why }) => [ref, done, why]),
    banded() {
      const bands = ['', '', '', '']
      new PktReader().read(told, pkt => {
        if (pkt.kind === 'data') bands[pkt.payload[0]!] += pkt.payload.toString('utf8', 1)
        return undefined
      })
      return bands
    },
  }
}

test('a push that the server took in part, with control characters in its reason, is told and recorded as it was done', () => {
  const push = answerTo('refs/heads/a', 'refs/heads/b')
  const report = ['unpack ok', 'ok refs/heads/a', 'ng refs/heads/b \x1b[2Jno\x07'].map(text => dataLine(`${text}\n`))
  push.answer.fromTarget(
    Buffer.concat([band(2, 'hook\x1b['), band(1, Buffer.concat([...report, flushLine])), flushLine]),
  )
  const [, told, said] = push.banded()
  expect(told).toContain('ok refs/heads/a\n')
  expect(told).toContain('ng refs/heads/b ?[2Jno?\n')
  expect(said).toBe('hook^[[')
  expect(push.results()).toEqual([
    ['refs/heads/a', true, undefined],
    ['refs/heads/b', false, '?[2Jno?'],
  ])
})

test('where the report breaks off, what it said before stays true, and of the rest nothing is known', () => {
  const push = answerTo('refs/heads/a', 'refs/heads/b')
  const begun = ['unpack ok\n', 'ok refs/heads/a\n', 'ERR disk full\x07\n'].map(text => dataLine(text))
  expect(() => push.answer.fromTarget(band(1, Buffer.concat(begun)))).toThrow('in the place of its report: disk full?')
  push.answer.giveUp('nobody knows')
  push.answer.tell()
  const [, told] = push.banded()
  expect(told).toMatch(/ok refs\/heads\/a\n.*ng refs\/heads\/b nobody knows\n/s)
  expect(told).not.toContain('ng refs/heads/a')
  expect(push.results()).toEqual([
    ['refs/heads/a', true, undefined],
    ['refs/heads/b', false, 'the server did not say what it did'],
  ])
})

test('an error in the place of a band is heard', () => {
  const push = answerTo('refs/heads/a')
  expect(() => push.answer.fromTarget(dataLine('ERR too busy\n'))).toThrow('in the place of its report: too busy')
  expect(() => answerTo('refs/heads/a').answer.fromTarget(dataLine('4711'))).toThrow('of no band')
})
