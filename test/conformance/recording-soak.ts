import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Reader } from '../../src/recording/reader.ts'
import setup from '../support/database-setup.ts'

/**
 * `npm run conformance -- recording-soak [--gib N] [--parts N]` (4 GiB of events in 4 parts; a release runs 40): one session
 * says so much, as fast as the journal and the store take it, through one process after the other. Neither the memory of who
 * records nor that of who verifies may depend on how much it was.
 */
const given = (name: string, otherwise: number) => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? otherwise : Number(process.argv[at + 1])
}
const mebi = 1024 * 1024
const bytes = given('gib', 4) * 1024 * mebi
const parts = given('parts', 4)
const mostGrowthMiB = 32
process.env['SALLYPORT_LOG_LEVEL'] ??= 'warn'
const { createWorld, sessionFacts, until } = await import('../recording/world.ts')

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** What stays when nothing is under way, and the most that the process took meanwhile. */
class Memory {
  readonly #kept: number[] = []
  readonly #most: number[] = []
  #peak = 0
  readonly #timer = setInterval(() => this.#look(), 50)

  constructor() {
    this.#timer.unref()
  }

  #look(): void {
    this.#peak = Math.max(this.#peak, process.memoryUsage.rss())
  }

  mark(): void {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    this.#kept.push((heapUsed + external) / mebi)
    this.#look()
    this.#most.push(this.#peak / mebi)
    this.#peak = 0
  }

  /** The first third warms up; then the last third against the one in the middle. */
  stop() {
    clearInterval(this.#timer)
    return { kept_MiB: growth(this.#kept), rss_MiB: growth(this.#most) }
  }
}

function growth(values: readonly number[]) {
  const third = Math.floor(values.length / 3)
  const most = (some: readonly number[]) => Math.round(Math.max(...some) * 10) / 10
  const [middle, last] = [most(values.slice(third, 2 * third)), most(values.slice(2 * third))]
  return { middle, last, grown: Math.round((last - middle) * 10) / 10 }
}

const stop = await setup()
const world = await createWorld()
const folder = mkdtempSync(join(tmpdir(), 'sallyport-soak-'))
const failures: string[] = []
try {
  const facts = sessionFacts()
  const table = Array.from({ length: 400 }, (_, i) => `${i}|name ${i}|person${i}@example.com|Oslo|2026-11-26`).join(
    '\n',
  )
  const memory = new Memory()
  const began = performance.now()
  let events = 0
  let said = 0
  let id = ''
  for (let part = 1; part <= parts; part++) {
    const side = await world.process()
    const journal = await world.journal({
      process_id: side.process_id,
      spool_root: join(folder, 'spool'),
      spool_bytes: 512 * mebi,
      tuning: {},
    })
    const recorder = await journal.open(facts)
    id = recorder.recording_id
    for (let marked = said; said < (bytes * part) / parts; ) {
      const text = `${events} ${table}`
      recorder.append([{ conn: 'con_1', kind: 'rows', body: { text } }])
      events++
      said += text.length
      if (events % 64 === 0) await new Promise(setImmediate)
      await recorder.behind()
      if (said - marked < bytes / 90) continue
      marked = said
      memory.mark()
    }
    await recorder.close('the process ends')
    await until(() => journal.pending === 0, 60_000)
    await journal.close()
  }
  const seconds = (performance.now() - began) / 1000
  const recording = memory.stop()
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  const [found] = await world.test.database.sql<{ segments: number; stored: number }[]>`
    select count(*)::int as segments, sum(bytes)::float8 as stored from recording_segments where recording_id = ${id}`
  const { segments, stored } = found!

  const reading = new Memory()
  const reader = new Reader({ ...world.replay, store: world.store, identities: [world.identity] })
  let played = 0
  const verified = performance.now()
  for await (const event of reader.events(facts.session_id)) {
    if (event.kind !== 'rows') failures.push(`an event of kind ${event.kind}`)
    if (++played % Math.ceil(events / 90) === 0) reading.mark()
  }
  const report = await reader.verify(facts.session_id)
  const replaying = reading.stop()

  console.log(
    JSON.stringify({
      said_GiB: Math.round((said / 1024 / mebi) * 100) / 100,
      events,
      parts,
      segments,
      stored_over_said: Math.round((stored / said) * 1000) / 1000,
      seconds: Math.round(seconds),
      MiB_per_s: Math.round(said / mebi / seconds),
      recording,
      replaying: { seconds: Math.round((performance.now() - verified) / 1000), ...replaying },
    }),
  )
  if (played !== events) failures.push(`${events} events were said, and ${played} play`)
  if (!report.ok) failures.push(`it does not verify: ${JSON.stringify(report)}`)
  for (const [who, { kept_MiB, rss_MiB }] of Object.entries({ recording, replaying })) {
    if (kept_MiB.grown > mostGrowthMiB) failures.push(`what ${who} keeps grew by ${kept_MiB.grown} MiB`)
    if (rss_MiB.grown > mostGrowthMiB) failures.push(`the process of ${who} grew by ${rss_MiB.grown} MiB`)
  }
  const left = readdirSync(join(folder, 'spool'), { recursive: true }).filter(
    name => statSync(join(folder, 'spool', String(name)), { throwIfNoEntry: false })?.isFile() ?? false,
  )
  if (left.length > 0) failures.push(`the spool still holds ${left.join(', ')}`)
} finally {
  await world[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
  await stop()
}
for (const failure of failures.slice(0, 10)) console.error(failure)
console.log(failures.length === 0 ? 'pass' : 'FAIL')
process.exit(failures.length === 0 ? 0 : 1)
