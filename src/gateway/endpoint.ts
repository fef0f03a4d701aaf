import { and, desc, eq, sql } from 'drizzle-orm'
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import { processes } from '../db/schema.ts'
import { SallyportError } from '../errors.ts'
import type { ListeningProtocol, PublicFacts } from './protocol.ts'

export interface Endpoint {
  readonly host: string
  readonly port: number
  /** PEM of the CA that the listener's certificate is from. */
  readonly ca: string
  /** What gateways say of themselves for this protocol (`Protocol.publish`). */
  readonly published: PublicFacts
}

/**
 * Where clients reach the gateway, as its workers say in their process rows.
 * @throws SallyportError `not_ready` when no worker lives that serves this protocol.
 */
export async function gatewayEndpoint(
  database: Database,
  config: Config,
  protocol: ListeningProtocol,
): Promise<Endpoint> {
  const rows = await database.db
    .select({ facts: processes.facts })
    .from(processes)
    .where(
      and(
        eq(processes.role, 'gateway'),
        eq(processes.ready, 'ready'),
        sql`${processes.heartbeat_at} > clock_timestamp() - interval '15 seconds'`,
      ),
    )
    .orderBy(desc(processes.started_at))
    .limit(1)
  const ca = rows[0]?.facts['ca']
  if (typeof ca !== 'string') {
    throw new SallyportError('not_ready', 'no gateway is ready', {
      remedy: 'wait a few seconds; `sallyport status` shows the processes and what they wait for',
    })
  }
  const port = config.gateway.ports[protocol.name] ?? protocol.listener.defaultPort
  const published = (rows[0]!.facts['published'] as Record<string, PublicFacts> | undefined)?.[protocol.name] ?? {}
  return { host: config.gateway.public_host, port, ca, published }
}
