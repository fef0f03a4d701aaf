import { createHmac } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { closedToReaders, closedWhy, measureEnds, now } from './live/ends.ts'
import { figure, median, quantile } from './live/figure.ts'
import { System } from './live/system.ts'

/**
 * `npm run bench -- activation [SESSIONS] [ROUNDS] [PUSHES]`: from a push to the revision in force, and to every process
 * saying that it runs it, woken by a webhook and by the poll of one second alone; a rollback, which needs no gate; then live
 * sessions over two workers that a merge no longer allows: from its activation to the close of each. One JSON line a figure.
 */
const sessions = Number(process.argv[2] ?? 200)
const rounds = Number(process.argv[3] ?? 3)
const pushes = Number(process.argv[4] ?? 10)
const secret = 'of the benchmark'
const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-hook-'))
writeFileSync(join(folder, 'hook'), secret, { mode: 0o600 })

const system = await System.start({
  tuning: { gateway_workers: 2, policy: () => ({ webhooks: { hmac: `file:${join(folder, 'hook')}` } }) },
  shopConnections: sessions * 2 + 50,
})

async function hook(): Promise<void> {
  const body = '{}'
  const at = String(Math.floor(Date.now() / 1000))
  const signature = createHmac('sha256', secret).update(`${at}.${body}`).digest('hex')
  const headers = { 'x-sallyport-timestamp': at, 'x-sallyport-signature': `sha256=${signature}` }
  const { status } = await fetch(`${system.dev.origin}/api/policy/webhook/hmac`, { method: 'POST', body, headers })
  if (status !== 202) throw new Error(`the webhook answered ${status}`)
}

/** @returns when every living process said that it runs the newest revision. */
async function everywhere(): Promise<number> {
  for (;;) {
    const rows =
      await system.owner`select id from processes where heartbeat_at > now() - interval '5 s' and ready <> 'stopped'
      and generation is distinct from (select max(generation) from revisions)`
    if (rows.length === 0) return now()
    await sleep(5)
  }
}

const people = system.policy('lib/people.rego')
const pushed = (n: number) => system.commit({ 'lib/people.rego': `${people}\n# ${n}\n` })

try {
  for (const [how, wake] of [
    ['woken by a webhook', hook],
    ['found by the poll of 1 s', async () => {}],
  ] as const) {
    const active: number[] = []
    const all: number[] = []
    for (let n = 0; n < pushes; n++) {
      await sleep(137 * (n % 7)) // at any moment between two polls
      const from = now()
      const commit = pushed(now())
      await wake()
      active.push((await system.activated(commit)) - from)
      all.push((await everywhere()) - from)
    }
    const figures = [
      ['to the revision in force, median', median(active), null],
      ['to the revision in force, max', quantile(active, 1), { most: 10_000 }],
      ['to every process running it, max', quantile(all, 1), { most: 10_000 }],
    ] as const
    for (const [what, value, budget] of figures)
      figure('activation', `from a push ${how} ${what} of ${pushes}`, value, 'ms', budget)
  }

  const back: number[] = []
  for (let n = 0; n < pushes; n++) {
    const from = now()
    const { status, body } = await system.person('sam').post('/api/policy/rollback', { reason: 'the bench' })
    if (status !== 200) throw new Error(`the rollback answered ${status}: ${JSON.stringify(body)}`)
    back.push((await everywhere()) - from)
  }
  figure('activation', `from a rollback to every process running it, max of ${pushes}`, quantile(back, 1), 'ms', {
    most: 1000,
  })
  await system.person('sam').post('/api/policy/unpin', { reason: 'the bench' })
  await system.activated(pushed(now()))

  const { closed, open } = closedToReaders(system)
  await measureEnds(system, 'from the activation of a merge to the close', {
    bench: 'activation',
    sessions,
    rounds,
    act: () => system.activated(system.commit(closed)),
    why: closedWhy,
    after: () => system.activated(system.commit(open)),
  })
} finally {
  await system[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
}
