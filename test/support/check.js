// `npm run check`: types, lint, architecture, unit and policy tests. Quiet while all is well; under two minutes.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '../..')
const bin = name => join(root, 'node_modules', name)

/** @returns {Promise<{name: string, code: number, output: string, seconds: number}>} */
function step(name, argv) {
  const started = Date.now()
  return new Promise(done => {
    const child = spawn(argv[0], argv.slice(1), { cwd: root, env: { ...process.env, FORCE_COLOR: '0', NO_COLOR: '1' } })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => (output += text))
    child.on('error', error => done({ name, code: 1, output: error.message, seconds: 0 }))
    child.on('close', code => done({ name, code: code ?? 1, output, seconds: (Date.now() - started) / 1000 }))
  })
}

const node = process.execPath
const steps = {
  types: () => step('types', [node, bin('typescript/bin/tsc'), '-p', 'tsconfig.test.json']),
  'web types': () =>
    existsSync(join(root, 'src/web/tsconfig.json'))
      ? step('web types', [node, bin('typescript/bin/tsc'), '--noEmit', '-p', 'src/web'])
      : undefined,
  lint: () => step('lint', [node, bin('@biomejs/biome/bin/biome'), 'check', '--error-on-warnings', '.']),
  unit: () =>
    step('unit', [
      node,
      bin('vitest/vitest.mjs'),
      'run',
      '--project',
      'unit',
      '--reporter',
      'dot',
      '--silent=passed-only',
    ]),
  policies: () => step('policies', [opa(), 'test', '-b', 'policies']),
}

/** As `npm start` finds it; the unit tests say at length when there is none. */
function opa() {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'sallyport')
  const pathFolders = (process.env.PATH ?? '').split(delimiter).map(folder => join(folder, 'opa'))
  return (
    [process.env.OPA_BIN, join(cache, 'opa-1.22.0/opa'), ...pathFolders].find(path => path && existsSync(path)) ?? 'opa'
  )
}

/** Types, lint and policies, side by side: what needs no server. */
export async function checkStatic(names = ['types', 'web types', 'lint', 'policies']) {
  const results = await Promise.all(names.map(name => steps[name]()))
  return results.filter(result => result !== undefined)
}

if (process.argv[1] === import.meta.filename) {
  const started = Date.now()
  const results = [...(await checkStatic()), await steps.unit()] // the tests fill the machine by themselves
  const failed = results.filter(result => result.code !== 0)
  for (const { name, output } of failed) console.log(`── ${name} failed\n${output.trim().slice(-12_000)}\n`)
  const took = Math.round((Date.now() - started) / 1000)
  console.log(
    failed.length === 0 ? `check passed (${took} s)` : `check failed: ${failed.map(result => result.name).join(', ')}`,
  )
  process.exitCode = failed.length === 0 ? 0 : 1
}
