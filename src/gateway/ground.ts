import type { SecureContext } from 'node:tls'
import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import type { Notices } from '../db/notices.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'
import type { Resources } from '../policy/resources.ts'
import type { Journal } from '../recording/journal.ts'
import type { Leases } from '../sessions/leases.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Tickets } from '../sessions/tickets.ts'
import type { CommandHandler } from './protocol.ts'
import type { Registry } from './registry.ts'
import type { TargetSettings } from './target.ts'

/** What a gateway worker stands on; main.ts makes it. */
export interface GatewayGround {
  readonly process_id: string
  /** How far this process's clock is ahead of the database's. */
  readonly skewMs: () => number
  readonly database: Database
  readonly notices: Pick<Notices, 'listen' | 'notify' | 'silentMs'>
  readonly audit: AuditWriter
  readonly engine: Engine
  readonly resources: Resources
  readonly decisionLog: Pick<DecisionLog, 'insert' | 'append' | 'flush'>
  readonly tickets: Pick<Tickets, 'find'>
  readonly sessions: Pick<Sessions, 'present' | 'closeConnection' | 'end' | 'redecideLive' | 'liveMark'>
  readonly leases: Pick<Leases, 'newLeaseId' | 'plan' | 'minted' | 'release'>
  readonly journal: Pick<Journal, 'open' | 'unavailable'>
  readonly registry: Registry
  /** Of the protocols that ride on another, by their names. */
  readonly handlers: ReadonlyMap<string, CommandHandler>
  readonly targets: TargetSettings
  readonly tls: () => SecureContext
  /** Key of the masking transform `hash` (`derive(root, 'mask-hash')`). */
  readonly maskKey: Buffer
  /** Key from which mock verifiers come (`derive(root, 'pretences')`). */
  readonly pretenceKey: Buffer
  /** Where people sign in. */
  readonly origin: string
  readonly offline_grace_s: number
  readonly plaintext: boolean
  readonly limits: { readonly login_ms: number; readonly frame_bytes: number }
}

export const defaultLimits = { login_ms: 20_000, frame_bytes: 16 * 1024 * 1024 } as const
