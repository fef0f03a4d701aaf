import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify'
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import type { Identity } from '../identity/door.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'

/** The server as an area of routes sees it. */
export type Api = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression<RawServerDefault>,
  RawReplyDefaultExpression<RawServerDefault>,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** What every area may use. An area that needs more says so in the type of its second parameter. */
export interface BaseDeps {
  readonly config: Pick<Config, 'origin' | 'deployment' | 'zone' | 'oidc'> & {
    readonly control: Pick<Config['control'], 'trusted_proxies' | 'metrics_from'>
    readonly policy?: Pick<Config['policy'], 'ref'> | undefined
  }
  readonly database: Database
  readonly identity: Identity
  readonly engine: Engine
  readonly decisions: DecisionLog
  /** The database's clock, in this process. */
  readonly now: () => number
  /** `ready`, or why this process is not. */
  readonly ready: () => string
  /** The built web UI; without it only the API is served. */
  readonly web?: string | undefined
  /** Calls a minute; the defaults fit a deployment of hundreds of people. */
  readonly limits?: { readonly calls?: number; readonly sign_ins?: number; readonly failures?: number } | undefined
}
