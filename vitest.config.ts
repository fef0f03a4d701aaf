import { defineConfig } from 'vitest/config'

// Two projects: `unit` is part of `npm run check`; `journeys` needs real servers and runs in `npm test`.
export default defineConfig({
  test: {
    reporters: ['default'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/journeys/**', 'test/conformance/**'],
          globalSetup: 'test/support/database-setup.ts',
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'journeys',
          include: ['test/journeys/**/*.test.ts'],
          globalSetup: 'test/support/database-setup.ts',
          testTimeout: 120_000,
          hookTimeout: 420_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
