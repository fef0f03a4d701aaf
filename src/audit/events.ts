import type { Json } from '../canonical.ts'
import type { Tx } from '../db/database.ts'

/** The catalogue of events. An Event is one entry of the audit log; its type is one of these, for ever. */
export const eventTypes = [
  'process.started',
  'sign_in.succeeded',
  'sign_in.refused',
  'sign_in.ended',
  'groups.changed',
  'subject.disabled',
  'subject.enabled',
  'token.issued',
  'token.revoked',
  'token.refused',
  'slack.bound',
  'slack.unbound',
  'slack.refused',
  'request.created',
  'request.approved',
  'request.denied',
  'request.expired',
  'request.cancelled',
  'action.held',
  'action.released',
  'action.refused',
  'vote.cast',
  'vote.refused',
  'grant.started',
  'grant.revoked',
  'grant.ended',
  'review.opened',
  'review.overdue',
  'review.answered',
  'review.refused',
  'ticket.issued',
  'ticket.refused',
  'session.opened',
  'session.ended',
  'session.moderated',
  'connection.opened',
  'connection.closed',
  'lease.minted',
  'lease.reaped',
  'lease.stuck',
  'decisions.batch',
  'recording.started',
  'recording.sealed',
  'recording.interrupted',
  'recording.deleted',
  'recording.delete_waits',
  'recording.locked',
  'recordings.moved',
  'recording.exported',
  'replay.opened',
  'replay.originals_opened',
  'replay.refused',
  'replay.searched',
  'evidence.exported',
  'log.erased',
  'hold.set',
  'hold.lifted',
  'proposal.made',
  'proposal.confirmed',
  'proposal.refused',
  'proposal.expired',
  'retention.floor_changed',
  'subject.erased',
  'subject.erasure_waits',
  'backup.made',
  'revision.activated',
  'revision.refused',
  'revision.pinned',
  'revision.rolled_back',
  'revision.unpinned',
  'revision.recovered',
  'revision.recovery_ended',
  'log.resumed',
  'log.key_rotated',
  'alert.raised',
] as const

export type EventType = (typeof eventTypes)[number]

export interface NewEvent {
  readonly type: EventType
  /** Who, what, why, in the words of the design. No secret, no masked value. */
  readonly body: { readonly [key: string]: Json | undefined }
  readonly subject_id?: string | undefined
  readonly session_id?: string | undefined
  readonly resource?: string | undefined
}

/** The audit writer of this process. It inserts in the caller's transaction: append first, act second. */
export interface AuditWriter {
  /** @returns the event's id. @throws when the event cannot be appended: then the act must not happen. */
  record(tx: Tx, event: NewEvent): Promise<string>
}
