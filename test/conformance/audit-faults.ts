import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { verifyLog } from '../../src/audit/verify.ts'
import { appendTwice, type Fault, FaultyCopy, faults, faultyDatabase, Injector } from '../audit/faults.ts'
import { logWorld } from '../audit/support.ts'

/**
 * `npm run conformance -- audit-faults`: somebody records events, gives them places, signs and copies; at their n-th query or
 * write of the copy that fails, is done and its answer lost, is done by half, or the process dies before or behind it, for
 * n = 1, 2, 3 … until a run passes clean. After each, a healthy process takes over, and the log must be whole: it verifies,
 * nothing waits, and every event whose transaction was said to be committed is in it. Who dies is a process of its own.
 */
const world = await logWorld()
await world.grow(3)
await world.sequencer.release()

interface Tried {
  readonly said: readonly number[]
  readonly met: boolean
}
const nameOf = (fault: Fault, n: number) => `prc_${fault.replace(/\W/g, '')}${n}`

async function here(fault: Fault, n: number): Promise<Tried> {
  const injector = new Injector(fault, n)
  const database = faultyDatabase(world.database, injector)
  const said = await appendTwice(database, nameOf(fault, n), n * 10)
  const faulty = world.sequencerWith({ database, copy: new FaultyCopy(world.copy.path, injector) })
  await faulty.step()
  await faulty.step()
  await faulty.release()
  return { said, met: injector.hit !== null }
}

/** Processes that have loaded everything and wait to be told their fault: to start one takes longer than all that it does. */
const ready: ChildProcess[] = []
function next(): ChildProcess {
  while (ready.length < 3) {
    const argv = [...process.execArgv, join(import.meta.dirname, 'audit-faults/child.ts')]
    ready.push(spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'inherit'] }))
  }
  return ready.shift()!
}

async function elsewhere(fault: Fault, n: number): Promise<Tried> {
  const child = next()
  const lines: string[] = []
  createInterface({ input: child.stdout! }).on('line', line => lines.push(line))
  child.stdin!.end(JSON.stringify([world.url.reveal(), world.copy.path, fault, String(n)]))
  await once(child, 'close')
  const said = lines.filter(line => line.startsWith('said ')).map(line => Number(line.slice(5)))
  const killed = child.signalCode === 'SIGKILL'
  if (!killed && lines.at(-1) !== 'clean')
    throw new Error(`it ended by itself with ${child.exitCode}: ${lines.join(', ')}`)
  return { said, met: killed }
}

try {
  for (const fault of faults) {
    let n = 1
    for (; ; n++) {
      const { said, met } = await (fault.startsWith('killed') ? elsewhere : here)(fault, n)
      for (let idle = 0; idle < 2; ) idle = (await world.sequencer.step()) === 0 ? idle + 1 : 0
      const { problem } = world.sequencer
      await world.sequencer.release()
      const report = await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })
      const there = await world.database.sql<{ number: number }[]>`
        select (body::json ->> 'number')::int as number from audit_inbox where writer like ${`${nameOf(fault, n)}.%`}`
      const known = new Set(there.map(row => row.number))
      const lost = said.filter(number => !known.has(number))
      if (problem !== null || !report.ok || report.waiting > 0 || lost.length > 0) {
        console.log(
          `FAIL  ${fault}, n = ${n}: ${JSON.stringify({ problem, flaws: report.flaws, waiting: report.waiting, lost })}`,
        )
        process.exitCode = 1
      }
      if (!met) break
    }
    console.log(`${process.exitCode ? '    ' : 'pass'}  ${fault}: ${n - 1} places, then a clean run`)
  }
} finally {
  for (const child of ready) child.kill('SIGKILL')
  await world.close()
}
process.exit()
