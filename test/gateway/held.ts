import { eq, sql } from 'drizzle-orm'
import type pg from 'pg'
import { expect } from 'vitest'
import { Approvals } from '../../src/approvals/approvals.ts'
import { holds, requests } from '../../src/approvals/schema.ts'
import { type RequestView, readRequest } from '../../src/approvals/view.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { sessions } from '../../src/sessions/schema.ts'
import type { Edit } from '../approvals/world.ts'
import { createGatewayWorld } from './world.ts'

/** As if it were production, where nobody needs the number of a ticket for a test. */
export const everywhere: Edit = ['action/production.rego', 'places.production', 'not places.development']
export const standing: Edit = [
  'access/access.rego',
  'input.role == "reader"\n',
  'input.role in {"reader", "writer", "admin"}\n',
]
export const noWhere = 'delete from orders'

/** A gateway before which some actions wait, control as its own database user, who sends and who approves. */
export async function createHeldWorld(...edits: Edit[]) {
  const world = await createGatewayWorld()
  const control = await world.otherProcess('control')
  const approvals = new Approvals(control.ground)
  const a = await world.gateway()
  await world.activate(everywhere, standing, ...edits)
  const dan = await world.person('dan', ['dbas'])
  const dora = await world.person('dora', ['dbas'])

  const open = async (role = 'writer') => {
    const issued = await world.ticket(dan, role)
    const client: pg.Client & { errors: Error[] } = await world.connect(a.port, issued)
    const notices: string[] = []
    client.on('notice', notice => notices.push(notice.message ?? ''))
    const [session] = await world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id))
    return { client, notices, session: session!, issued }
  }
  /** The hold of a session that waits now. */
  const waiting = async (session_id: string): Promise<RequestView> => {
    let found: string | undefined
    await expect
      .poll(
        async () => {
          const rows = await world.db
            .select({ id: requests.id })
            .from(holds)
            .innerJoin(requests, eq(requests.id, holds.request_id))
            .where(sql`${holds.session_id} = ${session_id} and ${requests.state} = 'pending'`)
          found = rows[0]?.id
          return found
        },
        { timeout: 5_000 },
      )
      .toBeDefined()
    return (await readRequest(world.db, found!))!
  }
  return {
    world,
    a,
    approvals,
    dan,
    dora,
    open,
    waiting,
    stateOf: async (id: string) => (await readRequest(world.db, id))!,
    cast: (request: RequestView, approver: SubjectFacts, answer: 'approve' | 'deny' = 'approve') =>
      approvals.vote({ request_id: request.id, approver, answer, via: 'web', expected_hash: request.hash }),
    /** How many orders there are. */
    orders: async () => Number((await world.admin('select count(*)::int as n from orders')).rows[0].n),
    refill: () =>
      world.admin('truncate orders; insert into orders select i, 1 + i % 2, i from generate_series(1, 500) i'),
  }
}

export type HeldWorld = Awaited<ReturnType<typeof createHeldWorld>>

export const outcome = (running: Promise<pg.QueryResult>): Promise<string> =>
  running.then(
    ({ command, rowCount }) => `${command} ${rowCount}`,
    (error: Error & { detail?: string; code?: string }) => `${error.code} ${error.message} · ${error.detail}`,
  )
