// `npm run bench -- NAME …` and `npm run conformance -- NAME …`: builds, then runs test/<kind>/NAME.ts from its source.
import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { build } from '../../src/cli/build.js'

const [kind, ...given] = process.argv.slice(2)
// The matrix of drivers is what `npm run conformance` means without a name.
const name = kind === 'conformance' && (given[0] ?? '--').startsWith('--') ? 'drivers' : given[0]
const args = name === given[0] ? given.slice(1) : given
const root = resolve(import.meta.dirname, '../..')
const folder = join(root, 'test', kind)
const names = existsSync(folder)
  ? readdirSync(folder)
      .filter(file => file.endsWith('.ts'))
      .map(file => file.slice(0, -3))
  : []

if (name === undefined || !names.includes(name)) {
  console.error(
    `${name === undefined ? 'Which one?' : `There is no ${name}.`} npm run ${kind} -- ${names.join(' | ') || '(none yet)'}`,
  )
  process.exit(2)
}
try {
  await build(line => console.error(`· ${line}`))
} catch (error) {
  console.error(error.message)
  process.exit(1)
}
const loader = join(import.meta.dirname, 'typescript.js')
const child = spawn(process.execPath, ['--import', loader, join(folder, `${name}.ts`), ...args], {
  cwd: root,
  stdio: 'inherit',
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('close', (code, signal) => {
  process.exitCode = signal === null ? code : 1
})
