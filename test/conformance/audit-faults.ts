import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { verifyLog } from '../../src/audit/verify.ts'
import { faults } from '../audit/faults.ts'
import { logWorld } from '../audit/support.ts'

/**
 * `npm run conformance -- audit-faults`: a process of its own records events, gives them places, signs and copies; at its
 * n-th query or write of the copy that fails, is done and its answer lost, is done by half, or the process dies before or
 * behind it, for n = 1, 2, 3 … until a run passes clean. After each, a healthy process takes over, and the log must be
 * whole: it verifies, nothing waits, and every event whose transaction was said to be committed is in it.
 */
const world = await logWorld()
await world.grow(3)
await world.sequencer.release()
try {
  for (const fault of faults) {
    let n = 1
    for (; ; n++) {
      const child = spawn(
        process.execPath,
        [
          ...process.execArgv,
          join(import.meta.dirname, 'audit-faults/child.ts'),
          world.url.reveal(),
          world.copy.path,
          fault,
          String(n),
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      )
      const lines: string[] = []
      createInterface({ input: child.stdout }).on('line', line => lines.push(line))
      await once(child, 'close')
      const killed = fault.startsWith('killed') && child.signalCode === 'SIGKILL'
      for (let idle = 0; idle < 2; ) idle = (await world.sequencer.step()) === 0 ? idle + 1 : 0
      const { problem } = world.sequencer
      await world.sequencer.release()
      const report = await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })
      const there = await world.database.sql<{ number: number }[]>`
        select (body::json ->> 'number')::int as number from audit_inbox where writer like ${`prc_${fault.replace(/\W/g, '')}${n}.%`}`
      const known = new Set(there.map(row => row.number))
      const said = lines.filter(line => line.startsWith('said ')).map(line => Number(line.slice(5)))
      const lost = said.filter(number => !known.has(number))
      if (problem !== null || !report.ok || report.waiting > 0 || lost.length > 0) {
        console.log(
          `FAIL  ${fault}, n = ${n}: ${JSON.stringify({ problem, flaws: report.flaws, waiting: report.waiting, lost, lines })}`,
        )
        process.exitCode = 1
      }
      if (!killed && lines.at(-1) === 'clean') break
    }
    console.log(`${process.exitCode ? '    ' : 'pass'}  ${fault}: ${n - 1} places, then a clean run`)
  }
} finally {
  await world.close()
}
process.exit()
