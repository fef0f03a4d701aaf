import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import {
  behaviours,
  type Cell,
  compare,
  judgeDenied,
  judgeMasked,
  type Line,
  underStarterPolicies,
} from './matrix/behaviours.ts'
import { drivers, type Prepared, runDriver } from './matrix/drivers.ts'
import { type DriverRow, page } from './matrix/page.ts'
import { runTools } from './matrix/tools.ts'
import { type ConformanceWorld, startConformanceWorld } from './matrix/world.ts'

/**
 * `npm run conformance [-- --only NAME,… --libpq-pipeline PROGRAM]`: every driver does everything twice, at the target
 * itself and through the gateway, and must see the same. Writes README.md beside this file, unless `--only` is given.
 */
async function main(args: readonly string[]): Promise<void> {
  const after = (name: string) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined)
  const only = after('--only')?.split(',')
  const world = await startConformanceWorld()
  try {
    const rows: DriverRow[] = []
    for (const driver of drivers) {
      if (only !== undefined && !only.includes(driver.name)) continue
      rows.push(await rowOf(driver, world))
    }
    const tools = only === undefined || only.includes('tools') ? await runTools(world, after('--libpq-pipeline')) : []
    for (const { name, cell } of tools) tell(name, cell)
    const psql = spawnSync('psql', ['--version'], { encoding: 'utf8' }).stdout.trim()
    const text = page({
      date: new Date().toISOString().slice(0, 10),
      machine: `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
      target: world.targetVersion,
      psql,
      rows,
      tools,
    })
    if (only === undefined) writeFileSync(join(import.meta.dirname, 'README.md'), text)
    const cells = [
      ...rows.flatMap(row => [...row.open.values(), ...row.starter.values()]),
      ...tools.map(tool => tool.cell),
    ]
    const count = (verdict: string) => cells.filter(cell => cell.verdict === verdict).length
    console.log(`${count('pass')} passed, ${count('fail')} failed, ${count('refused')} refused`)
    if (count('fail') > 0) process.exitCode = 1
  } finally {
    await world.stop()
  }
}

async function rowOf(driver: (typeof drivers)[number], world: ConformanceWorld): Promise<DriverRow> {
  const open = new Map<string, Cell>()
  const starter = new Map<string, Cell>()
  let prepared: Prepared
  try {
    prepared = await driver.prepare()
  } catch (error) {
    console.error(`· ${driver.name} is left out: ${(error as Error).message}`)
    return { name: driver.name, version: 'not installed', open, starter }
  }
  const names = Object.keys(behaviours)
  const limited = Object.keys(underStarterPolicies)
  const all = [...names, 'masked']
  const direct = await runDriver(prepared.argv(world.direct, all), world.direct, all)
  const through = await runDriver(prepared.argv(world.open, names), world.open, names)
  const reader = await runDriver(prepared.argv(world.starter, limited), world.starter, limited)
  for (const name of names) open.set(name, compare(direct.get(name), through.get(name)))
  for (const name of limited) starter.set(name, judge(name, direct.get(name), reader.get(name)))
  for (const [name, cell] of open) tell(`${driver.name}: ${name}`, cell)
  for (const [name, cell] of starter) tell(`${driver.name} as reader: ${name}`, cell)
  return { name: driver.name, version: prepared.version, open, starter }
}

function judge(name: string, direct: Line | undefined, reader: Line | undefined): Cell {
  if (name === 'denied') return judgeDenied(reader)
  return name === 'masked' ? judgeMasked(direct, reader) : compare(direct, reader)
}

function tell(name: string, cell: Cell): void {
  if (cell.verdict !== 'pass') console.log(`${cell.verdict}: ${name}: ${cell.note ?? ''}`)
}

await main(process.argv.slice(2))
