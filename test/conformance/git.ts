import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { type Compared, compare } from './git/compare.ts'
import { page } from './git/page.ts'
import { fromText, type Ran, runScript, toText, wordsOf } from './git/script.ts'
import { bringGit, type GitSource } from './git/source.ts'
import { type ScriptWorld, startScriptWorld } from './git/world.ts'

/**
 * `npm run conformance -- git [SCRIPT… --keep FOLDER]`: git's own scripts for fetch and push, straight to a server and through
 * the gateway. A SCRIPT is the beginning of a name, t55 if none is given; then git.md beside this file is written. `--keep`
 * puts results there, with what the scripts said, and runs none again whose result is there: a long run can be cut and goes on.
 */
async function main(args: readonly string[]): Promise<void> {
  const at = args.indexOf('--keep')
  const keep = at < 0 ? undefined : args[at + 1]!
  const asked = args.filter((_, i) => at < 0 || (i !== at && i !== at + 1))
  const source = await bringGit(line => console.error(`· ${line}`))
  const names = readdirSync(join(source.folder, 't'))
    .filter(name => /^t\d{4}-.*\.sh$/.test(name))
    .filter(name => (asked.length === 0 ? ['t55'] : asked).some(each => name.startsWith(each)))
  const kept = (name: string) => (keep === undefined ? undefined : join(keep, `${name}.json`))
  const isKept = (name: string) => keep !== undefined && existsSync(kept(name)!)
  if (keep !== undefined) mkdirSync(keep, { recursive: true })
  const world = names.every(isKept) ? undefined : await startScriptWorld()
  const compared: Compared[] = []
  try {
    for (const name of names) {
      const ran = isKept(name)
        ? (JSON.parse(readFileSync(kept(name)!, 'utf8'), fromText) as readonly Ran[])
        : await runBoth(world!, source, name)
      const one = compare(name, ran[0]!, ran[1]!)
      compared.push(one)
      tell(one)
      if (keep === undefined || isKept(name)) continue
      if (ran[0]!.skipped === null)
        for (const way of world!.ways) writeFileSync(join(keep, `${name}.${way.name}`), wordsOf(name, way))
      writeFileSync(kept(name)!, JSON.stringify(ran, toText))
    }
  } finally {
    await world?.close()
  }
  const text = page({
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    version: source.version,
    minutes: Math.ceil(
      compared.reduce((sum, each) => sum + Math.max(each.direct.seconds, each.through.seconds), 0) / 60,
    ),
    compared,
  })
  if (asked.length === 0) writeFileSync(join(import.meta.dirname, 'git.md'), text)
  else if (keep !== undefined) writeFileSync(join(keep, 'git.md'), text)
  const bad = compared.flatMap(each => each.differences).filter(each => each.reason === null)
  const cut = compared.filter(each => !each.direct.whole || !each.through.whole)
  console.log(`${compared.length} scripts, ${cut.length} cut, ${bad.length} differences that are not explained`)
  process.exit(bad.length + cut.length > 0 ? 1 : 0)
}

/** Both at once, each in a folder of its own. */
async function runBoth(world: ScriptWorld, source: GitSource, name: string): Promise<readonly Ran[]> {
  await world.renew()
  return Promise.all(world.ways.map(way => runScript(source, name, way)))
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
