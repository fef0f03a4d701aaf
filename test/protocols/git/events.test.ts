import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { facts } from '../../../src/protocols/git/actions.ts'
import { readings } from '../../../src/protocols/git/reading.ts'
import { documented, folder } from './documented.ts'

test('what a SIEM is told of git stands in its document: every action with its facts', () => {
  const told = documented('Actions (decisions)')
  expect([...told.keys()].sort()).toEqual(Object.keys(facts).sort())
  for (const [kind, schema] of Object.entries(facts))
    expect(told.get(kind)!.sort(), kind).toEqual(Object.keys(schema.properties).sort())
})

test('every kind of event that is recorded stands there too, and reads in words; members are looked at in the journey', () => {
  const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'))
  const text = sources.map(name => readFileSync(join(folder, name), 'utf8')).join('\n')
  const recorded = [...text.matchAll(/\.record\('(git_\w+)'/g)].map(each => each[1]!)
  expect([...documented('Events of a recording').keys()].sort()).toEqual([...new Set(recorded)].sort())
  expect(Object.keys(readings)).toEqual(expect.arrayContaining(recorded))
})
