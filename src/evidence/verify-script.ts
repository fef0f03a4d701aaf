import { createReadStream } from 'node:fs'
import { plain } from '../recording/render.ts'
import { verifyBundle } from './verify-bundle.ts'
import { reportLines } from './verify-words.ts'

/**
 * The verifier as a program of its own: it is bundled into one file that needs Node.js alone, and goes with each bundle.
 * `node verify.mjs BUNDLE.tar [--key KEY] [--witness KEY]…`; exit code 0: everything verifies, 1: it does not, 2: it could not be tried.
 */
const words = process.argv.slice(2)
const given = { '--key': [] as string[], '--witness': [] as string[] }
let wrong = false
for (const name of ['--key', '--witness'] as const)
  for (let at = words.indexOf(name); at >= 0; at = words.indexOf(name)) {
    const value = words.splice(at, 2)[1]
    if (value === undefined) wrong = true
    else given[name].push(value)
  }
const [file, ...rest] = words

if (file === undefined || rest.length > 0 || wrong || given['--key'].length > 1) {
  process.stderr.write('usage: node verify.mjs BUNDLE.tar [--key KEY] [--witness KEY]…\n')
  process.exitCode = 2
} else {
  try {
    const report = await verifyBundle(createReadStream(file, { highWaterMark: 1 << 20 }), {
      vkey: given['--key'][0],
      witnesses: given['--witness'],
    })
    for (const line of reportLines(report)) process.stdout.write(`${plain(line)}\n`)
    process.exitCode = report.ok ? 0 : 1
  } catch (error) {
    process.stderr.write(`${plain(error instanceof Error ? error.message : String(error))}\n`)
    process.exitCode = 2
  }
}
