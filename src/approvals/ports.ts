import type { AuditWriter } from '../audit/events.ts'
import type { Database, Tx } from '../db/database.ts'
import type { Decision } from '../policy/decision.ts'
import type { Engine } from '../policy/engine.ts'
import type { Input } from '../policy/points.ts'
import type { Resources } from '../policy/resources.ts'

export type Client = Input<'access'>['client']

/** The part of the decision log that belongs into the caller's transaction. */
export interface DecisionRows {
  insert(tx: Tx, decision: Decision): Promise<unknown>
}

/** What this room and sessions/ stand on. `zone` is that of `input.time`. */
export interface Ground {
  readonly database: Database
  readonly engine: Pick<Engine, 'decide'>
  readonly decisionLog: DecisionRows
  readonly audit: AuditWriter
  readonly resources: Pick<Resources, 'get' | 'list' | 'rolesOf' | 'version'>
  readonly zone: string
}

/** Told after the commit, in the process that acted; other processes hear NOTIFY on `requests` and `grants`. */
export interface ApprovalPorts {
  readonly onRequested?: (request_id: string) => void
  readonly onChanged?: (request_id: string) => void
  readonly onGrantEnded?: (grant: EndedGrant) => void
}

export interface EndedGrant {
  readonly id: string
  readonly subject_id: string
  readonly resource: string
  readonly role: string
  readonly reason: string
}
