import { closedToReaders, closedWhy, type Ending, measureEnds, now } from './live/ends.ts'
import { figure } from './live/figure.ts'
import { System } from './live/system.ts'

/**
 * `npm run bench -- revocation [SESSIONS] [ROUNDS]`: live sessions of two people over two gateway workers, every second one
 * with a running query, the roles in processes of their own under their own database users. How long after the click (the
 * API call that revokes), after the activation of a merge, and after the moment when a grant runs out each client's
 * connection is closed. One JSON line a figure.
 */
const sessions = Number(process.argv[2] ?? 200)
const rounds = Number(process.argv[3] ?? 3)

const system = await System.start({ tuning: { gateway_workers: 2 }, shopConnections: sessions * 2 + 50 })
const measure = (what: string, ending: Pick<Ending, 'act' | 'why' | 'after'>) =>
  measureEnds(system, what, { bench: 'revocation', sessions, rounds, ...ending })

try {
  await measure('from the click to the close', {
    act: async grants => {
      const from = now()
      const revoke = (grant: string) =>
        system.person('sam').post(`/api/grants/${grant}/revoke`, { reason: 'the bench is over' })
      for (const { status, body } of await Promise.all(grants.map(revoke)))
        if (status !== 200) throw new Error(`the revocation answered ${status}: ${JSON.stringify(body)}`)
      return from
    },
    why: /the session has ended: .*the bench is over/,
  })

  await measure('from the end of its time to the close', {
    act: async grants => {
      const [row] = await system.owner<{ at: number }[]>`
      update grants set ends_at = clock_timestamp() + interval '2 s' where id = any(${grants as string[]})
      returning (extract(epoch from ends_at) * 1000)::float8 as at`
      await system.owner`select pg_notify('grants', ${JSON.stringify({ ids: grants })})`
      return row!.at
    },
    why: /the session has ended: (its time|the time of its grant) is over/,
  })

  const { closed, open } = closedToReaders(system)
  const toActive: number[] = []
  await measure('from the activation of a merge to the close', {
    act: async () => {
      const from = now()
      const at = await system.activated(system.commit(closed))
      toActive.push(at - from)
      return at
    },
    why: closedWhy,
    after: () => system.activated(system.commit(open)),
  })
  figure(
    'revocation',
    'from the commit to its activation (poll, check, tests, compile), max',
    Math.max(...toActive),
    'ms',
  )
} finally {
  await system[Symbol.asyncDispose]()
}
