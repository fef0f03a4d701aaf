import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { type Compared, compare } from './git/compare.ts'
import { page } from './git/page.ts'
import { runScript, wordsOf } from './git/script.ts'
import { bringGit } from './git/source.ts'
import { startScriptWorld } from './git/world.ts'

/**
 * `npm run conformance -- git [SCRIPT… --keep FOLDER]`: git's own scripts for fetch and push, straight to a server and through
 * the gateway. A SCRIPT is the beginning of a name, t55 if none is given; then git.md beside this file is written. `--keep`
 * puts what the scripts said there.
 */
async function main(args: readonly string[]): Promise<void> {
  const at = args.indexOf('--keep')
  const keep = at < 0 ? undefined : args[at + 1]!
  const asked = args.filter((_, i) => at < 0 || (i !== at && i !== at + 1))
  const source = await bringGit(line => console.error(`· ${line}`))
  const names = readdirSync(join(source.folder, 't'))
    .filter(name => /^t\d{4}-.*\.sh$/.test(name))
    .filter(name => (asked.length === 0 ? ['t55'] : asked).some(each => name.startsWith(each)))
  const started = performance.now()
  const world = await startScriptWorld()
  const compared: Compared[] = []
  try {
    for (const name of names) {
      await world.renew()
      const [direct, through] = await Promise.all(world.ways.map(way => runScript(source, name, way)))
      const one = compare(name, direct!, through!)
      compared.push(one)
      tell(one)
      if (keep === undefined || direct!.skipped !== null) continue
      mkdirSync(keep, { recursive: true })
      for (const way of world.ways) writeFileSync(join(keep, `${name}.${way.name}`), wordsOf(name, way))
    }
  } finally {
    await world.close()
  }
  const text = page({
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    version: source.version,
    minutes: Math.ceil((performance.now() - started) / 60_000),
    compared,
  })
  if (asked.length === 0) writeFileSync(join(import.meta.dirname, 'git.md'), text)
  else if (keep !== undefined) writeFileSync(join(keep, 'git.md'), text)
  const bad = compared.flatMap(each => each.differences).filter(each => each.reason === null)
  const cut = compared.filter(each => !each.direct.whole || !each.through.whole)
  console.log(`${compared.length} scripts, ${cut.length} cut, ${bad.length} differences that are not explained`)
  process.exit(bad.length + cut.length > 0 ? 1 : 0)
}

function tell({ script, direct, through, same, differences }: Compared): void {
  if (direct.skipped !== null) {
    console.log(`–     ${script}: ${direct.skipped}`)
    return
  }
  const bad = differences.filter(each => each.reason === null)
  const isCut = !direct.whole || !through.whole
  const cut = !isCut ? '' : `, ended early: ${direct.whole ? 'through the gateway' : 'direct'}`
  const counts = `${same.pass} pass, ${same.fail} fail both times, ${same.skipped} skipped, ${differences.length} differ${cut}`
  const how = `asked ${direct.asked} and ${through.asked} times; ${Math.round(direct.seconds)} and ${Math.round(through.seconds)} s`
  console.log(`${bad.length > 0 || isCut ? 'FAIL' : 'pass'}  ${script}: ${counts} (${how})`)
  for (const each of bad)
    console.log(`      ${each.number} ${each.title}: ${each.direct} directly, ${each.through} through`)
}

await main(process.argv.slice(2))
