import { expect, test } from 'vitest'
import type { Shown, Waits } from '../../../src/gateway/protocol.ts'
import type { UpdateFacts } from '../../../src/protocols/git/facts.ts'
import { judgePush } from '../../../src/protocols/git/judge-push.ts'

const id = (digit: string) => digit.repeat(40)
const person = { name: 'Ada', email: 'ada@example.com' }
const commit = (signature: UpdateFacts['commits'][number]['signature']) => ({
  id: id('1'),
  parents: 1,
  author: person,
  committer: person,
  authored_at_ms: 0,
  committed_at_ms: 0,
  subject: 'harmless',
  signature,
})

async function shownOf(ref: string, paths = ['bin/run'], paths_total = paths.length): Promise<readonly Shown[]> {
  let shown: readonly Shown[] = []
  const judge = (_: unknown, __: unknown, waits: Waits) => {
    shown = waits.shown()
    return { allowed: true }
  }
  const channel = { id: 1, opened: { gate: { judge, record: () => {}, settings: { level: 'full' } } } }
  const repository = { resource: { options: {} }, name: 'app', path: 'app.git', administration: false, symrefs: null }
  const update = { ref, asked: ref, old: id('2'), new: id('1'), perhaps: [] }
  const facts: UpdateFacts = {
    ref,
    old: id('2'),
    new: id('1'),
    kind: 'fast-forward',
    commits: [
      commit(null),
      commit({ kind: 'ssh', status: 'verified', signer: 'ada' }),
      commit({ kind: 'ssh', status: 'bad', signer: null }),
    ],
    commits_total: 3,
    kept: null,
    lost: [],
    lost_total: 0,
    paths: paths.map(path => ({ path, change: 'modified', type: 'symlink', bytes: 3, added: 1, removed: 9 })),
    paths_total,
    secrets: [],
    tag: null,
    largest_bytes: 0,
    cut: [],
  }
  const request = { commands: [], shallow: [], capabilities: new Map(), capabilityText: '', options: [] }
  const known = { request, updates: [update], facts: [facts], pack_bytes: 0, begun: () => {} }
  await judgePush(channel as never, repository as never, known)
  return shown
}

test('an approver reads whose names are proven, what a file has become, and the whole name of the ref', async () => {
  const [head, commits, paths] = await shownOf('refs/heads/release/1')
  expect(head).toEqual({
    label: 'refs/heads/release/1',
    lines: ['fast-forward: 222222222222 → 111111111111, 1 file, +1 −9'],
    whole: true,
  })
  expect(commits!.lines.map(line => /\[.*\]$/.exec(line)![0])).toEqual([
    '[not signed]',
    '[signed by ada]',
    '[signature bad]',
  ])
  expect(paths!.lines).toEqual(['M bin/run (symlink) +1 −9'])
  const long = `refs/heads/release/${'1'.repeat(100)}`
  expect((await shownOf(long))[0]!.lines[0]).toBe(long)
})

test('an approver can read every path that policy is told of, and how many it is not told of', async () => {
  const paths = Array.from({ length: 1000 }, (_, i) => `f${i}`)
  const all = (await shownOf('refs/heads/release/1', paths, 1234)).at(-1)!
  expect([all.label, all.lines.length, all.lines.at(-1), all.more]).toEqual([
    'refs/heads/release/1: paths',
    1000,
    'M f999 (symlink) +1 −9',
    234,
  ])
})
