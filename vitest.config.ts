import { defineConfig } from 'vitest/config'
import LongestFirst from './test/support/order.ts'
import { splitTests } from './test/support/projects.ts'

const { fast, servers } = splitTests()
const env = { SALLYPORT_LOG_LEVEL: process.env['SALLYPORT_LOG_LEVEL'] ?? 'silent' } // what a test fails of, it says itself
const side = { maxWorkers: 2 } // one group for all: no worker waits for the other before the end
const kept = { isolate: false } // what is loaded once is there for the next file
const expect = { poll: { timeout: 10_000 } } // a wait, not a promise: how fast something is, a benchmark shows

// `unit` needs no server and is part of `npm run check`; `servers` and `journeys` run in `npm test`.
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: { name: 'unit', ...side, ...kept, include: fast, env, expect, testTimeout: 30_000, hookTimeout: 60_000 },
      },
      {
        test: {
          name: 'servers',
          ...side,
          ...kept,
          include: servers,
          env,
          expect,
          globalSetup: 'test/support/database-setup.ts',
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'journeys',
          ...side,
          include: ['test/journeys/**/*.test.ts'],
          env,
          expect,
          globalSetup: 'test/support/database-setup.ts',
          testTimeout: 120_000,
          hookTimeout: 420_000,
        },
      },
    ],
  },
})
