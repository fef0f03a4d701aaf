import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { targets } from './targets.ts'

/** `<target>-<what>.bin`: what once broke, or was made to; `npm run conformance -- fuzz` adds what it finds. */
const folder = join(import.meta.dirname, 'regression')
const files = readdirSync(folder).filter(name => name.endsWith('.bin'))

describe('hostile input to SSH that is kept', () => {
  beforeAll(async () => {
    for (const { prepare } of targets) await prepare()
  })

  test('every target has some', () => {
    expect(targets.filter(({ name }) => !files.some(file => file.startsWith(`${name}-`)))).toEqual([])
  })

  test.each(files)('%s breaks nothing', file => {
    const target = targets.find(({ name }) => file.startsWith(`${name}-`))
    expect(target).toBeDefined()
    expect(() => target?.run(readFileSync(join(folder, file)))).not.toThrow()
  })
})
