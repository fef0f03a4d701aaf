import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import fc from 'fast-check'
import { targets as git } from '../fuzz/git/targets.ts'
import { targets as postgres } from '../fuzz/postgres/targets.ts'
import { targets as ssh } from '../fuzz/ssh/targets.ts'

/**
 * `npm run conformance -- fuzz [--seconds N] [--seed N]` (60): random bytes and texts at everything that reads what
 * strangers send. What breaks is shrunk, and becomes a file that a unit test replays for ever.
 */
const fuzz = resolve(import.meta.dirname, '../fuzz')
const targets = [
  ...git.map(target => ({ ...target, regression: join(fuzz, 'git/regression') })),
  ...postgres.map(target => ({ ...target, regression: join(fuzz, 'postgres/regression') })),
  ...ssh.map(target => ({ ...target, regression: join(fuzz, 'ssh/regression') })),
]

async function main(args: readonly string[]): Promise<void> {
  const after = (name: string) => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : undefined)
  const seconds = after('--seconds') ?? 60
  const share = (seconds * 1000) / targets.length
  let failed = 0
  for (const { name, input, prepare, run, regression } of targets) {
    await prepare()
    const seed = after('--seed') ?? Math.floor(Math.random() * 2 ** 31)
    let slowest = 0
    const found = fc.check(
      fc.property(input, bytes => {
        const started = performance.now()
        run(Buffer.from(bytes))
        slowest = Math.max(slowest, performance.now() - started)
      }),
      { seed, numRuns: 10_000_000, interruptAfterTimeLimit: share, markInterruptAsFailure: false },
    )
    const line = { fuzz: name, seed, runs: found.numRuns, slowest_ms: Math.round(slowest), failed: found.failed }
    console.log(JSON.stringify(line))
    if (!found.failed) continue
    failed++
    mkdirSync(regression, { recursive: true })
    const file = join(regression, `${name}-${seed}.bin`)
    writeFileSync(file, Buffer.from(found.counterexample?.[0] ?? []))
    console.error(`${file}: ${String(found.errorInstance)}`)
  }
  console.log(`${targets.length - failed} passed, ${failed} failed`)
  if (failed > 0) process.exitCode = 1
}

await main(process.argv.slice(2))
