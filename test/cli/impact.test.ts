import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type ImpactCommand, impact } from '../../src/cli/impact.ts'
import { findOpa } from '../../src/policy/opa-binary.ts'
import { actionInput, engineer, now, starter } from '../policy/support.ts'

const repo = mkdtempSync(join(tmpdir(), 'sallyport-impact-repo-'))
const log = join(repo, '../', `${repo.split('/').at(-1)}.jsonl`)
const marker = join(repo, '.git/ran')
let printed = ''

function git(...args: string[]): string {
  const who = ['-c', 'user.name=Sam', '-c', 'user.email=sam@example.com', '-c', 'commit.gpgsign=false']
  return execFileSync('git', ['-C', repo, ...who, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim()
}

function commit(files: Iterable<readonly [string, string | Buffer]>): void {
  for (const [path, content] of files) {
    mkdirSync(dirname(join(repo, path)), { recursive: true })
    writeFileSync(join(repo, path), content)
  }
  git('add', '-A')
  git('commit', '-q', '-m', 'change')
}

const closed = `package sallyport.action

# METADATA
# title: Nobody reads the orders
# custom: { rule: action.no-orders }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "the orders are closed"} if {
	some relation in input.action.reads
	relation.name == "orders"
}
`
const closedTest = `package sallyport.action_closed_test

import data.sallyport.action

orders := {"kind": "select", "verb": "read", "reads": [{"schema": "public", "name": "orders"}]}

test_orders_are_closed if {
	some reason in action.deny with input as {"role": "reader", "action": orders}
	reason.rule == "action.no-orders"
}
`

beforeAll(async () => {
  process.env['OPA_BIN'] ??= await findOpa()
  git('init', '-q', '-b', 'main')
  commit([...starter()].map(([path, content]) => [`policies/${path}`, content] as const))
  git('tag', 'base')
  git('checkout', '-q', '-b', 'closing')
  commit([
    ['policies/action/closed.rego', closed],
    ['policies/action/closed_test.rego', closedTest],
  ])
  git('config', 'core.fsmonitor', `touch ${marker}`)
  const event = (table: string, i: number) => {
    const input = {
      ...actionInput({ reads: [{ name: table, schema: 'public' }] }),
      subject: { ...engineer, name: 'A|da `x`' },
    }
    const timestamp = new Date(now + i).toISOString()
    return JSON.stringify({ decision_id: `dec_${i}`, path: 'sallyport/action/result', input, timestamp })
  }
  writeFileSync(log, ['orders', 'customers', 'orders'].map(event).join('\n'))
})
afterAll(() => {
  rmSync(repo, { recursive: true, force: true })
  rmSync(log, { force: true })
})
beforeEach(() => {
  printed = ''
  vi.spyOn(process.stdout, 'write').mockImplementation(text => (printed += String(text)) !== '')
  vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
  return () => vi.restoreAllMocks()
})

const nobody = () => {
  throw new Error('nobody is signed in')
}
const run = (range: string, change: Partial<ImpactCommand> = {}) =>
  impact(nobody, range, { repo, folder: 'policies', log: [log], format: 'table', zone: 'UTC', threads: 0, ...change })

describe('sallyport policy impact', () => {
  test('names who, what, how often, and the rule at its line, without touching the working tree or running anything of it', async () => {
    writeFileSync(join(repo, 'policies/action/action.rego'), 'not committed, so not read')
    expect(await run('main..closing')).toBe(0)
    expect(printed).toContain('3 recorded decisions were judged again')
    expect(printed).toContain('newly denied: 2 (1 subject)')
    expect(printed).toMatch(/2 × A\|da `x` \(sub_ada\) as reader on shop-db at action\n\s+was allow\n/)
    expect(printed).toMatch(
      /is {2}deny by action\.no-orders action\/closed\.rego:\d+@[0-9a-f]{40}: the orders are closed/,
    )
    expect(() => readFileSync(marker)).toThrow('ENOENT')
    git('checkout', '-q', '-f', 'closing')
  })

  test('exits with 3 where there are more than the threshold, and with 0 where there are not', async () => {
    expect(await run('base..closing', { failOn: 'denied:1' })).toBe(3)
    expect(await run('base..closing', { failOn: 'denied:2,allowed:0' })).toBe(0)
  })

  test('markdown for a pull request holds no formatting of anybody else', async () => {
    const output = join(repo, '.git/report.md')
    await run('main...HEAD', { format: 'markdown', output })
    const text = readFileSync(output, 'utf8')
    expect(text).toContain('| newly denied | 2 | 1 |')
    expect(text).toContain(
      "| 2 | `A¦da 'x' (sub_ada)` | `shop-db` | `reader` | action | was **allow**<br>is **deny**, `action.no-orders action/closed.rego:",
    )
  })

  test('JSON has the groups and what passed the thresholds', async () => {
    await run('base..', { format: 'json', failOn: 'any:0' })
    const report = JSON.parse(printed) as { groups: { count: number }[]; exceeded: string[] }
    expect(report.groups.map(group => group.count)).toEqual([2])
    expect(report.exceeded).toEqual(['any: 2, and at most 0 may be'])
  })

  test.each<[string, Partial<ImpactCommand>, RegExp]>([
    ['main', {}, /names no two revisions/],
    ['none..main', {}, /cannot be read/],
    ['--output=x..main', {}, /is no name of a commit/],
    ['base..closing', { folder: 'elsewhere' }, /base \([0-9a-f]{12}\)/],
    ['base..closing', { folder: '' }, /the point access has no policy/],
    ['base..closing', { format: 'html' }, /is no format/],
    ['base..closing', { failOn: 'people:1' }, /is no threshold/],
    ['base..closing', { log: [join(repo, 'none')] }, /there is no such file/],
    ['base..closing', { log: [] }, /nobody is signed in/],
    ['base..closing', { repo: join(repo, 'none') }, /there is no folder/],
  ])('%s with %j is refused with words', async (range, change, words) => {
    await expect(run(range, change)).rejects.toThrow(words)
  })
})
