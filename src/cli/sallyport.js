#!/usr/bin/env node
// The `sallyport` command. In a checkout that was never built it builds first; an installation brings dist/ along.
import { existsSync } from 'node:fs'
import { join } from 'node:path'

if (process.argv[2] === 'dev' && !process.argv.slice(3).some(word => word === '--help' || word === '-h')) {
  await import('./start.js')
} else {
  if (!existsSync(join(import.meta.dirname, '../../dist/cli/main.js'))) {
    const { build } = await import('./build.js')
    await build(line => console.error(`· ${line}`)).catch(error => {
      console.error(error.message)
      process.exit(1)
    })
  }
  const { main } = await import('../../dist/cli/main.js')
  await main(process.argv)
}
