import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { idleRoles } from '../../src/policy/data-check.ts'
import type { PolicyData } from '../../src/policy/data-schema.ts'
import { Refused } from '../../src/policy/problem.ts'
import { readSettings } from '../../src/policy/repository-settings.ts'
import { doubledKeysApart } from '../../src/policy/yaml-apart.ts'
import { doubledKeys, placesIn } from '../../src/policy/yaml-place.ts'

test('a key that stands twice is found among very many, at any depth, and whichever way it is written', () => {
  const many = Array.from({ length: 150_000 }, (_, i) => `k${i}: 1`).join('\n')
  expect(doubledKeys('x', `${many}\n"k7": 2\n`)).toEqual([
    { code: 'data', file: 'x', line: 150_001, message: 'this key stands here twice' },
  ])
  const deep = 'a:\n  - b: {c: 1, d: 2, c: 3}\n  - e:\n      f: 1\n      f: 2\nb: {c: 1}\n'
  expect(doubledKeys('x', deep).map(({ line }) => line)).toEqual([2, 5])
  expect(doubledKeys('x', '{"1": 0, 1: 1}')).toHaveLength(1) // one member of the data
  expect(doubledKeys('x', many)).toEqual([])
})

test('a long file is read beside the work of the process, and no line is looked for in a very long one', async () => {
  const text = `${Array.from({ length: 60_000 }, (_, i) => `k${i}: 1`).join('\n')}\nk7: 2\n`
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const execArgv = ['--import', pathToFileURL(join(import.meta.dirname, '../support/typescript.js')).href]
  const found = await doubledKeysApart('x', text, { execArgv })
  clearInterval(timer)
  expect(found).toEqual([{ code: 'data', file: 'x', line: 60_001, message: 'this key stands here twice' }])
  expect(turns).toBeGreaterThan(5) // none of them, where it is read in this thread
  expect(await doubledKeysApart('x', text, { execArgv, end_ms: 0 })).toMatchObject([
    { message: 'the file cannot be read: it takes too long; divide it' },
  ])
  expect(placesIn('a:\n  b: 1\n'.padEnd(2 << 20))(['a', 'b'])).toBe(1)
})

test('where many rules of many roles fit nothing, the first are told with their lines, and the file is read once', () => {
  const rule = '    - { names: [nowhere], max_s: 60 }'
  const text = ['someone:', '  reader:', ...Array.from({ length: 20_000 }, () => rule)].join('\n')
  const rules = Array.from({ length: 20_000 }, () => ({ names: ['nowhere'], max_s: 60 }))
  const data = { resources: {}, roles: { someone: { reader: rules } } } as unknown as PolicyData
  const idle = idleRoles(data, new Map([['roles/data.yaml', Buffer.from(text)]]))
  expect(idle).toHaveLength(50)
  expect(idle.map(({ line }) => line)).toEqual(Array.from({ length: 50 }, (_, i) => i + 3))
})

test('a place that is not there is that of its nearest parent', () => {
  const lineOf = placesIn('a:\n  b:\n    - c: 1\n')
  expect([lineOf(['a', 'b', '0', 'c']), lineOf(['a', 'b', '7']), lineOf(['x'])]).toEqual([3, 2, 1])
})

test('settings of a repository are short', () => {
  const long = Buffer.from(Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join('\n'))
  expect(() => readSettings(new Map([['policy.yaml', long]]))).toThrow(Refused)
})
