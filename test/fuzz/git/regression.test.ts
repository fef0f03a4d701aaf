import fc from 'fast-check'
import { describe, test } from 'vitest'
import { keptInputs } from '../kept.ts'
import { targets } from './targets.ts'

keptInputs('git', targets)

describe('random input to git, for a moment', () => {
  test.each(targets)('$name', ({ input, run }) => {
    fc.assert(
      fc.property(input, bytes => run(Buffer.from(bytes))),
      { numRuns: 1000 },
    )
  })
})
