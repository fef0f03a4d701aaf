#!/usr/bin/env node
// `npm start`: builds when sources changed, then runs the development system in this process.
const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 15)) {
  console.error(`Node.js ${process.versions.node} is too old: Sallyport needs 20.15 or later.`)
  process.exit(1)
}

try {
  const { build } = await import('./build.js')
  const say = line => console.log(`· ${line}`)
  await build(say)
  const { ensureNative } = await import('./native.js')
  ensureNative(say)
} catch (error) {
  console.error(error.message)
  process.exit(1)
}
const { dev } = await import('../../dist/dev/main.js')
await dev()
