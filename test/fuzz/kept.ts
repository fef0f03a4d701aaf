import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Target } from './postgres/targets.ts'

/**
 * The tests of a protocol's `regression/<target>-<what>.bin`: what once broke, or was made to; `npm run conformance -- fuzz`
 * adds what it finds.
 */
export function keptInputs(protocol: string, targets: readonly Target[]): void {
  const folder = join(import.meta.dirname, protocol, 'regression')
  const files = readdirSync(folder).filter(name => name.endsWith('.bin'))

  describe(`hostile input to ${protocol} that is kept`, () => {
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
}
