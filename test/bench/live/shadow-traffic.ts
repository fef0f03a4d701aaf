import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { pgbench } from '../postgres/run.ts'
import { type BenchWorld, startBenchWorld } from '../postgres/world.ts'
import { figure, median } from './figure.ts'

/** What a shadow costs people's own statements: pgbench through the gateway beside one and without, round by round. */
export async function throughGateway(seconds: number, rounds: number, least: number): Promise<void> {
  const world = await startBenchWorld(1000, { policy: () => ({ shadow_ref: 'next' }) })
  const sql = postgres(world.dev.database.url('sallyport').reveal(), { max: 1, onnotice: () => {} })
  try {
    commitCandidate(world)
    await until(async () => (await sql`select 1 from shadow_revisions where digest is not null`).length === 1)
    const shadow = async (on: boolean) => {
      await sql`update shadow_revisions set ended_at = ${on ? null : new Date()}`
      await sleep(4_500) // every process looks each two seconds, and the thread takes a moment to start
    }
    const url = world.sallyport.url(false)!
    for (const [what, more] of [
      ['lasting connections', []],
      ['a connection for each statement', ['-C']],
    ] as const) {
      const [without, beside]: [number[], number[]] = [[], []]
      await pgbench(url, 'simple', 4, 5, more) // the first connection waits for its lease
      for (let round = 0; round < rounds; round++) {
        // Which comes first changes, so that what grows with time is on neither side.
        for (const on of round % 2 === 0 ? [false, true] : [true, false]) {
          await shadow(on)
          ;(on ? beside : without).push(await pgbench(url, 'simple', 4, seconds, more))
        }
      }
      const ratios = beside.map((value, round) => value / without[round]!)
      figure('shadow', `through the gateway, ${what}`, median(without), 'tps')
      figure('shadow', `through the gateway beside a shadow, ${what}`, median(beside), 'tps')
      figure('shadow', `share that is left, ${what}`, median(ratios), 'x', { least })
    }
    const [counts] = await sql<{ judged: number; skipped: number; diverged: number }[]>`
      select sum(judged)::int as judged, sum(skipped)::int as skipped, sum(diverged)::int as diverged from shadow_counts`
    if ((counts?.judged ?? 0) === 0) throw new Error('the shadow weighed nothing of the live traffic')
    figure('shadow', 'live decisions weighed', counts!.judged, 'decisions')
    figure('shadow', 'live decisions skipped, and counted as such', counts!.skipped, 'decisions')
    figure('shadow', 'live decisions that diverge', counts!.diverged, 'decisions')
  } finally {
    await sql.end({ timeout: 5 })
    await world.stop()
  }
}

/** The policies of now, where pgbench's table may not be read any more: every statement diverges. */
function commitCandidate({ dev }: BenchWorld): void {
  const folder = join(dev.dataDir, 'next')
  const author = ['-c', 'user.name=bench', '-c', 'user.email=bench@example.test', '-c', 'commit.gpgsign=false']
  const git = (at: string, ...args: string[]) => execFileSync('git', ['-C', at, ...author, ...args])
  git(dev.policies, 'worktree', 'add', '--quiet', '-b', 'next', folder)
  const file = join(folder, 'action/action.rego')
  const rule = `
# METADATA
# custom: { rule: action.bench }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "not this table"} if {
	some relation in input.action.reads
	startswith(relation.name, "pgbench_")
}
`
  writeFileSync(file, readFileSync(file, 'utf8') + rule)
  git(folder, 'commit', '-qam', 'A candidate')
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await holds()) return
    await sleep(200)
  }
  throw new Error('the shadow did not come')
}
