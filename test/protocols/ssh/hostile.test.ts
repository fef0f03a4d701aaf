import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { targets } from '../../fuzz/ssh/targets.ts'

describe('hostile bytes', () => {
  test.each(targets)('to $name end in an answer or a refusal, never in a fault', async ({ input, prepare, run }) => {
    await prepare()
    fc.assert(
      fc.property(input, bytes => {
        expect(() => run(Buffer.from(bytes))).not.toThrow()
      }),
      { numRuns: 400 },
    )
  })
})
