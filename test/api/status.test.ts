import { register } from 'prom-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { baseAreas, buildServer } from '../../src/api/server.ts'
import { type StatusDeps, statusRoutes } from '../../src/api/status.ts'
import type { Client } from '../../src/cli/client.ts'
import { status } from '../../src/cli/status.ts'
import { newId } from '../../src/ids.ts'
import { countDecisionLogs, decisionLogs } from '../../src/policy/log/metrics.ts'
import { signIn } from '../identity/support.ts'
import { type ApiWorld, apiWorld } from './support.ts'

let world: ApiWorld
beforeAll(async () => {
  world = await apiWorld(base => {
    const deps: StatusDeps = { ...base, status: { development: false, promises: [] } }
    return buildServer(deps, [...baseAreas, statusRoutes])
  })
})
afterAll(() => world.stop())

const wrong = { waiting: 7, oldest_s: 12, refused: 3, alarm: 'decisions wait for the database' }
const well = { waiting: 0, oldest_s: 0, refused: 0, alarm: null }

test('the status says of each process what it has not written down, of each export how far it is behind and why', async () => {
  const [late, early, dead] = [newId('prc'), newId('prc'), newId('prc')]
  for (const [id, role, decisions] of [
    [late, 'gateway', wrong],
    [early, 'control', well],
  ] as const)
    await world.database
      .sql`insert into processes (id, role, host, pid, ready, facts) values (${id}, ${role}, 'h', 1, 'ready', ${JSON.stringify({ decisions })}::text::jsonb)`
  await world.database.sql`insert into processes (id, role, host, pid, ready, facts, heartbeat_at)
    values (${dead}, 'gateway', 'h', 1, 'ready', ${JSON.stringify({ decisions: wrong })}::text::jsonb, now() - interval '20 s')`
  await world.database.sql`insert into decision_places (id, last) values (1, 5)`
  await world.database
    .sql`insert into decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, seq)
    values ('dec_next', ${Date.now() - 400_000}, 'admin', 'allow', 'policy', '', '{}', '{}', '[]', 3)`
  await world.database
    .sql`insert into decision_exports (name, seq, exported_at, failing_since, alarmed_at, last_error) values
    ('files', 5, now(), null, null, null), ('siem', 2, null, now() - interval '90 s', now(), 'siem.example.com answered 503')`
  const { session } = await signIn(world, 'sam')
  const headers = { cookie: `sallyport=${session}`, origin: world.origin }
  const answer = (await (await fetch(`${world.origin}/api/status`, { headers })).json()) as Record<
    string,
    Record<string, unknown>[]
  >
  expect(answer['processes']!.find(each => each['id'] === late)!['decisions']).toEqual(wrong)
  expect(answer['processes']!.find(each => each['id'] === dead)!['decisions']).toBeNull()
  expect(answer['exports']).toEqual([
    expect.objectContaining({ name: 'files', behind: 0, lag_s: 0, failing_since_ms: null, alarm: false }),
    expect.objectContaining({
      name: 'siem',
      behind: 3,
      exported_at_ms: null,
      last_error: 'siem.example.com answered 503',
      alarm: true,
    }),
  ])
  expect(answer['exports']![1]!['lag_s']).toBeGreaterThanOrEqual(400)

  const said: string[] = []
  const write = process.stdout.write
  process.stdout.write = ((text: string) => said.push(String(text)) > 0) as typeof process.stdout.write
  try {
    await status({ get: async () => answer } as unknown as Client)
  } finally {
    process.stdout.write = write
  }
  const text = said.join('')
  expect(text).toContain(
    `ALARM: gateway ${late}: decisions wait for the database; 7 decisions wait for the database, the oldest for 12 s`,
  )
  expect(text).not.toContain(early + ':')
  expect(text).toMatch(/siem +never +3 +4\d\d s +ALARM: fails since .*: siem.example.com answered 503/)
  expect(text).toMatch(/files .* 0 +0 s +delivers/)

  countDecisionLogs(await decisionLogs(world.database))
  const numbers = await register.getSingleMetricAsString('sallyport_decision_log_waiting')
  expect(numbers).toContain(`{process="${late}",role="gateway"} 7`)
  await world.database.sql`update processes set ready = 'stopped' where id = ${late}`
  countDecisionLogs(await decisionLogs(world.database))
  expect(await register.getSingleMetricAsString('sallyport_decision_log_waiting')).not.toContain(late)
})
