import { logger } from '../log.ts'
import type { GatewayGround } from './ground.ts'
import type { LiveSession } from './live-session.ts'
import { GuardedTarget } from './target.ts'

const log = logger('gateway')

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
