import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { OpenedConnection } from '../sessions/present.ts'
import type { GatewayGround } from './ground.ts'
import type { LiveSession } from './live-session.ts'
import type { Minted, Protocol } from './protocol.ts'
import { GuardedTarget } from './target.ts'

const log = logger('gateway')

/** Written down first, then made, then confirmed: a crash in between leaves a row that is reaped. */
export async function mintLease(
  ground: Pick<GatewayGround, 'leases' | 'targets' | 'process_id' | 'registry'>,
  protocol: Protocol,
  live: LiveSession,
  { session, permit }: OpenedConnection,
): Promise<Minted> {
  const { leases, targets, process_id, registry } = ground
  const request = {
    id: leases.newLeaseId(),
    session_id: session.id,
    role: session.role,
    ends_at_ms: session.ends_at.getTime(),
    max_connections: session.max_connections,
  }
  const wire = registry.wireOf(protocol)
  const resource = registry.onTheWire(live.resource)
  const plan = wire.lease.plan(resource, request)
  await leases.plan({
    id: request.id,
    session_id: session.id,
    process_id,
    resource: live.resource.name,
    protocol: protocol.name,
    kind: plan.kind,
    facts: plan.facts,
  })
  try {
    const minted = await wire.lease.mint(permit, new GuardedTarget(resource, targets), request, plan)
    if (await leases.minted(request.id)) {
      live.lease = { permit, facts: plan.facts, until_ms: request.ends_at_ms }
      return minted
    }
    throw new SallyportError('session_ended', 'the session ended while it was being opened')
  } catch (error) {
    await leases.release(request.id)
    throw error
  }
}

/**
 * A session whose grant was extended goes on longer than its credential was made for: the target is told. One that ends
 * sooner needs nothing, it is reaped. Who cannot be told now is told when the session is next decided again.
 */
export async function extendLease(
  ground: Pick<GatewayGround, 'registry' | 'targets'>,
  live: LiveSession,
): Promise<void> {
  const { lease, ends_at_ms, resource } = live
  if (lease === null || live.isEnded || ends_at_ms <= lease.until_ms) return
  const before = lease.until_ms
  lease.until_ms = ends_at_ms
  try {
    const { registry, targets } = ground
    const protocol = registry.get(resource.protocol)
    if (protocol === undefined) return
    const target = new GuardedTarget(registry.onTheWire(resource), targets)
    await registry.wireOf(protocol).lease.extend?.(lease.permit, target, lease.facts, ends_at_ms)
  } catch (error) {
    lease.until_ms = before
    log.warn({ err: error, session_id: live.id }, 'the end of a credential could not be moved; it is tried again')
  }
}
