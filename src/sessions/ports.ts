import type { Ground } from '../approvals/ports.ts'
import type { BatchWriter } from '../audit/writer.ts'
import type { Decision } from '../policy/decision.ts'
import type { Permit } from '../policy/permit.ts'

export interface SessionGround extends Ground {
  readonly audit: BatchWriter
  readonly decisionLog: Ground['decisionLog'] & {
    /** Queues a decision that no row refers to. `false`: the log is full. */
    append(decision: Decision): boolean
  }
}

export interface EndedSession {
  readonly id: string
  readonly code: EndCode
  readonly reason: string
}

/** Why a session ended, for programs; `reason` is for the person. */
export type EndCode = 'closed' | 'idle' | 'expired' | 'revoked' | 'policy' | 'offline' | 'recording' | 'lost' | 'token'

/** Told after the commit, in the process that acted; other processes hear NOTIFY on `sessions`. */
export interface SessionPorts {
  readonly onEnded?: (session: EndedSession) => void
}

export interface LeaseToReap {
  readonly id: string
  readonly session_id: string
  readonly resource: string
  readonly protocol: string
  readonly kind: string
  readonly facts: Readonly<Record<string, unknown>>
}

/** Removes a credential from its target. Plugged in by the gateway. @throws when something is left that still opens a door. */
export type ReapLease = (permit: Permit, lease: LeaseToReap) => Promise<void>

export interface LeasePorts {
  /** A lease could not be reaped again and again: somebody must look. */
  readonly onStuck?: (lease: LeaseToReap, error: string) => void
}
