import { createReadStream } from 'node:fs'
import { plain } from '../recording/render.ts'
import { reportLines, verifyBundle } from './verify-bundle.ts'

/**
 * The verifier as a program of its own: it is bundled into one file that needs Node.js alone, and goes with each bundle.
 * `node verify.mjs BUNDLE.tar [--key KEY]`; exit code 0: everything verifies, 1: it does not, 2: it could not be tried.
 */
const words = process.argv.slice(2)
const at = words.indexOf('--key')
const key = at < 0 ? undefined : words.splice(at, 2)[1]
const [file, ...rest] = words

if (file === undefined || rest.length > 0 || (at >= 0 && key === undefined)) {
  process.stderr.write('usage: node verify.mjs BUNDLE.tar [--key KEY]\n')
  process.exitCode = 2
} else {
  try {
    const report = await verifyBundle(createReadStream(file, { highWaterMark: 1 << 20 }), { vkey: key })
    for (const line of reportLines(report)) process.stdout.write(`${plain(line)}\n`)
    process.exitCode = report.ok ? 0 : 1
  } catch (error) {
    process.stderr.write(`${plain(error instanceof Error ? error.message : String(error))}\n`)
    process.exitCode = 2
  }
}
