import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { RecordingWorld } from '../recording/world.ts'
import setup from '../support/database-setup.ts'
import { type Fault, faultKinds, folderForFaults } from '../support/faults/faults.ts'

/**
 * `npm run conformance -- faults [--only TEXT] [--stride N]`: each write, sync, rename and call fails, or the process dies in
 * it, or the machine loses its power, in turn until a run passes clean: while a session is recorded and shipped, while its
 * spool is recovered, while it is sealed, deleted or moved to another store, and while events enter the audit log and are
 * signed. What is checked after each is in `recording/fault-runs.ts`, `recording/keep-faults.ts` and `audit-faults.ts`.
 * Writes faults.md beside this file, unless a part of it was asked for.
 */
process.env['SALLYPORT_LOG_LEVEL'] ??= 'silent' // thousands of faults, each with its line
const { recordAtEveryFault, recoverAtEveryFault, sealAtEveryFault } = await import('../recording/fault-runs.ts')
const { deleteAtEveryFault, moveAtEveryFault } = await import('../recording/keep-faults.ts')
const { createWorld } = await import('../recording/world.ts')

const given = (name: string) => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}
const only = given('only') ?? ''
const stride = Number(given('stride') ?? 1)
const calls = ['fails', 'unanswered', 'dies'] as const
const powers = ['dropped', 'zeros'] as const

interface Row {
  readonly part: string
  readonly fault: string
  readonly steps: number | string
  readonly seconds: number
}
const rows: Row[] = []

type Run = (world: RecordingWorld) => Promise<number>
const stop = await setup()
const folder = folderForFaults()
try {
  const whole = { folder, stride }
  // A session at a time and a folder of its own: its tries share a world, several at once.
  const together: [part: string, fault: string, run: Run][] = []
  for (const [part, run] of [
    ['record and ship', recordAtEveryFault],
    ['recover', recoverAtEveryFault],
  ] as const) {
    for (const kind of faultKinds) together.push([part, kind, world => run({ ...whole, world, kind, parallel: 6 })])
    for (const power of powers)
      together.push([part, `no power, ${power}`, world => run({ ...whole, world, kind: 'dies', power, parallel: 6 })])
  }
  // Each of these looks at all recordings there are: every one has a world of its own.
  const alone: [part: string, fault: string, run: Run][] = []
  for (const kind of calls) {
    alone.push(['seal', kind, world => sealAtEveryFault({ ...whole, world, kind })])
    alone.push(['delete', kind, world => deleteAtEveryFault({ ...whole, world, kind })])
  }
  for (const power of powers)
    alone.push(['delete', `no power, ${power}`, world => deleteAtEveryFault({ ...whole, world, kind: 'dies', power })])
  for (const kind of faultKinds) alone.push(['move', kind, world => moveAtEveryFault({ ...whole, world, kind })])
  for (const power of powers)
    alone.push(['move', `no power, ${power}`, world => moveAtEveryFault({ ...whole, world, kind: 'dies', power })])

  const shared = await createWorld()
  try {
    for (const each of together) await attempt(each, shared)
  } finally {
    await shared[Symbol.asyncDispose]()
  }
  const left = [...alone]
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let each = left.shift(); each !== undefined; each = left.shift()) {
        const own = await createWorld()
        await attempt(each, own).finally(() => own[Symbol.asyncDispose]())
      }
    }),
  )
} finally {
  rmSync(folder, { recursive: true, force: true })
}
try {
  if ('append and checkpoint'.includes(only)) await auditLog()
} finally {
  await stop()
}
if (only === '' && stride === 1) writeFileSync(join(import.meta.dirname, 'faults.md'), page())
process.exit(rows.some(row => typeof row.steps === 'string') ? 1 : 0)

async function attempt([part, fault, run]: [string, string, Run], world: RecordingWorld): Promise<void> {
  if (!`${part}, ${fault}`.includes(only)) return
  const began = performance.now()
  const steps = await run(world).catch((error: Error) => error.message)
  tell({ part, fault, steps, seconds: Math.round((performance.now() - began) / 1000) })
}

function tell(row: Row): void {
  rows.push(row)
  const { part, fault, steps, seconds } = row
  console.log(
    `${typeof steps === 'number' ? 'pass' : 'FAIL'}  ${part}, ${fault}: ${steps}${typeof steps === 'number' ? ' steps' : ''}, ${seconds} s`,
  )
}

/** The audit log has a run of its own, whose processes are really killed. */
async function auditLog(): Promise<void> {
  const child = spawn(process.execPath, [...process.execArgv, join(import.meta.dirname, 'audit-faults.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let began = performance.now()
  for await (const line of createInterface({ input: child.stdout })) {
    const [, fault, steps] = /^pass {2}(.*): (\d+) places/.exec(line) ?? []
    if (fault === undefined && !line.startsWith('FAIL')) continue
    const seconds = Math.round((performance.now() - began) / 1000)
    began = performance.now()
    tell({
      part: 'append and checkpoint',
      fault: fault ?? '',
      steps: fault === undefined ? line.slice(6) : Number(steps),
      seconds,
    })
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
  if (child.exitCode !== 0) tell({ part: 'append and checkpoint', fault: 'all', steps: 'it did not pass', seconds: 0 })
}

function page(): string {
  const order = ['record and ship', 'recover', 'seal', 'delete', 'move', 'append and checkpoint']
  const said: Partial<Record<Fault | string, string>> = {
    fails: 'the step does nothing and throws EIO, this once',
    half: 'half of a write arrives, then ENOSPC',
    unanswered: 'the step is done, and throws all the same',
    dies: 'the process ends before the step',
    torn: 'half of a write arrives, then the process ends',
    'no power, dropped': 'the machine stops; what was not synced is gone',
    'no power, zeros': 'the same, and files have their length, with zeros in it',
  }
  const total = Math.round(performance.now() / 60_000)
  return [
    '# Faults',
    '',
    `*Written by \`npm run conformance -- faults\` on ${new Date().toISOString().slice(0, 10)}; do not edit.* Machine: ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB; ${total} minutes.`,
    '',
    'Each step (a write, a sync, a rename, a call of the store or the database) goes wrong in turn, until a run passes in which none was left to. After each, the next',
    'run finds what is there: nothing that was taken is lost, no hole and no event twice, what is missing is said, nothing is in clear, a deletion or a move finishes.',
    '',
    ...Object.entries(said).map(([fault, meaning]) => `- **${fault}**: ${meaning}`),
    '',
    '| part | fault | steps | seconds | |',
    '|---|---|---|---|---|',
    ...rows
      .toSorted((a, b) => order.indexOf(a.part) - order.indexOf(b.part))
      .map(
        ({ part, fault, steps, seconds }) =>
          `| ${part} | ${fault} | ${typeof steps === 'number' ? steps : ''} | ${seconds} | ${typeof steps === 'number' ? 'pass' : `**fail**: ${steps.replaceAll('|', '\\|').replaceAll('\n', ' ')}`} |`,
      ),
    '',
  ].join('\n')
}
