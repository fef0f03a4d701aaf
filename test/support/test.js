// `npm test`: everything. Real servers and clients, types, lint, policies, unit tests and journeys.
// The last line is `N passed, N failed`; the exit code says the same.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { build } from '../../src/cli/build.js'
import { ensureNative } from '../../src/cli/native.js'
import { checkStatic } from './check.js'
import { ensurePackages } from './packages.js'

const root = resolve(import.meta.dirname, '../..')
const say = line => console.log(`· ${line}`)
let passed = 0
let failed = 0

/** Counts one part as a test of its own; what it says when it fails is printed. */
async function part(name, run) {
  try {
    await run()
    passed++
  } catch (error) {
    failed++
    console.log(`── ${name} failed\n${error.message}\n`)
  }
}

/** Both projects in one run; the reporter of people on the screen, the one of programs in a file. */
async function vitest() {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-results-'))
  const file = join(folder, 'results.json')
  try {
    const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, '--silent=passed-only']
    const code = await new Promise(done => {
      spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
        cwd: root,
        stdio: ['ignore', 'inherit', 'inherit'],
      })
        .on('error', () => done(1))
        .on('close', done)
    })
    const results = JSON.parse(readFileSync(file, 'utf8'))
    passed += results.numPassedTests
    failed += results.numFailedTests
    // A file that cannot even be loaded, or a hook that throws, has no test that failed.
    const broken = results.testResults.filter(
      suite => suite.status === 'failed' && !suite.assertionResults.some(test => test.status === 'failed'),
    )
    failed += broken.length
    if (code !== 0 && results.numFailedTests + broken.length === 0) throw new Error(`vitest ended with code ${code}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

await part('packages', () => ensurePackages(say))
// The build needs one core most of the time: types and lint have the other.
const checks = checkStatic(['types', 'web types', 'lint'])
await part('build', () => build(say))
ensureNative(say)
await part('opa', async () => {
  const { findOpa } = await import('../../dist/policy/opa-binary.js')
  process.env.OPA_BIN = await findOpa({ progress: say })
})
await part('versitygw', async () => {
  await import('./typescript.js')
  const { findVersitygw } = await import('./versitygw.ts')
  findVersitygw(say)
})
for (const { name, code, output } of [...(await checks), ...(await checkStatic(['policies']))]) {
  await part(name, () => {
    if (code !== 0) throw new Error(output.trim())
  })
}
await vitest().catch(error => {
  failed++
  console.log(`── tests failed\n${error.message}\n`)
})
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
