import { rmSync } from 'node:fs'
import setup from '../support/database-setup.ts'
import { faultKinds, folderForFaults } from '../support/faults/faults.ts'

/**
 * `npm run conformance -- faults [--only TEXT] [--stride N]`: each write, sync, rename and call fails, or the process dies in
 * it, or the machine loses its power, in turn until a run passes clean: while a session is recorded and shipped, while its
 * spool is recovered, while it is sealed, while it is deleted or moved to another store. Some ten minutes. What is checked after each is in `recording/fault-runs.ts`.
 */
process.env['SALLYPORT_LOG_LEVEL'] ??= 'silent' // thousands of faults, each with its line
const { recordAtEveryFault, recoverAtEveryFault, sealAtEveryFault } = await import('../recording/fault-runs.ts')
const { deleteAtEveryFault, moveAtEveryFault } = await import('../recording/keep-faults.ts')
const { createWorld } = await import('../recording/world.ts')

const given = (name: string) => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}
const stride = Number(given('stride') ?? 1)
const stop = await setup()
const folder = folderForFaults()
let failed = 0

const world = await createWorld()
try {
  const tries: [string, () => Promise<number>][] = []
  const whole = { world, folder, stride }
  for (const kind of faultKinds) {
    tries.push([`record and ship, ${kind}`, () => recordAtEveryFault({ ...whole, kind })])
    tries.push([`recover, ${kind}`, () => recoverAtEveryFault({ ...whole, kind })])
  }
  for (const power of ['dropped', 'zeros'] as const) {
    tries.push([`record and ship, no power, ${power}`, () => recordAtEveryFault({ ...whole, kind: 'dies', power })])
    tries.push([`recover, no power, ${power}`, () => recoverAtEveryFault({ ...whole, kind: 'dies', power })])
  }
  for (const kind of ['fails', 'unanswered', 'dies'] as const)
    tries.push([`seal, ${kind}`, () => sealAtEveryFault({ ...whole, kind })])
  for (const kind of ['fails', 'unanswered', 'dies'] as const) {
    tries.push([`delete, ${kind}`, () => deleteAtEveryFault({ ...whole, kind })])
    tries.push([`move, ${kind}`, () => moveAtEveryFault({ ...whole, kind })])
  }
  for (const [name, run] of tries) {
    if (!name.includes(given('only') ?? '')) continue
    try {
      console.log(`pass  ${name}: ${await run()} steps`)
    } catch (error) {
      failed++
      console.log(`FAIL  ${name}: ${(error as Error).message}`)
    }
  }
} finally {
  await world[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
  await stop()
}
process.exitCode = failed === 0 ? 0 : 1
