import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProcessRow } from '../../src/db/processes.ts'
import { createRootKey, derive } from '../../src/keys.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import type { Secret } from '../../src/secret.ts'
import type { SessionPorts } from '../../src/sessions/ports.ts'
import { Sessions } from '../../src/sessions/sessions.ts'
import { Tickets } from '../../src/sessions/tickets.ts'
import { createWorld, granted } from '../approvals/world.ts'

/** Approvals and tickets as control, sessions as gateway workers: each with the database user of its role. */
export async function createSessionWorld(ports: SessionPorts = {}) {
  const world = await createWorld()
  const root = createRootKey(join(mkdtempSync(join(tmpdir(), 'sallyport-keys-')), 'root'))
  const key = derive(root, 'tickets')
  const control = await world.otherProcess('control')
  const tickets = new Tickets(control.ground, key)
  const controlSessions = new Sessions(control.ground)

  /** A gateway worker with its row in `processes`. */
  async function worker() {
    const side = await world.otherProcess('gateway')
    const row = await ProcessRow.register(side.ground.database, { role: 'gateway' })
    return {
      ...side,
      process_id: row.id,
      row,
      sessions: new Sessions(side.ground, ports),
      tickets: new Tickets(side.ground, key),
    }
  }

  const client = { address: '192.0.2.7', application: 'psql' }
  function issue(
    subject: SubjectFacts,
    more: { role?: string; token?: SubjectFacts['token']; duration_s?: number } = {},
  ) {
    const { role = 'reader', token = null, duration_s } = more
    const verifiers = (secret: Secret) => ({ hash: `verifier of ${secret.reveal().length}` })
    return tickets.issue(world.approvals, {
      subject: { ...subject, token },
      resource: 'shop-db',
      role,
      verifiers,
      client: { ...client, via: 'cli' },
      duration_s,
    })
  }
  async function ticketOf(subject: SubjectFacts, more: Parameters<typeof issue>[1] = {}) {
    return granted(await issue(subject, more))
  }
  function present(gateway: Awaited<ReturnType<typeof worker>>, ticket_id: string, address = client.address) {
    return gateway.sessions.present({
      ticket_id,
      client: { address, application: 'psql', via: 'postgres' },
      process_id: gateway.process_id,
    })
  }
  return { ...world, root, key, control, tickets, controlSessions, worker, issue, ticketOf, present }
}

export type SessionWorld = Awaited<ReturnType<typeof createSessionWorld>>
export type Worker = Awaited<ReturnType<SessionWorld['worker']>>
