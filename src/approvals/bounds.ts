import { canonical, digest, type Json } from '../canonical.ts'

export interface WhatIsAsked {
  readonly id: string
  readonly subject_id: string
  readonly on_behalf_of: string | null
  readonly resource: string
  readonly role: string
  readonly duration_s: number
  readonly reason: string
  readonly ticket_ref: string | null
  /** Of the action that waits, where that is what is asked for. */
  readonly held?: WhatIsHeld | null
}

/** What exactly waits: these actions of this connection and no others. */
export interface WhatIsHeld {
  readonly session_id: string
  readonly connection_id: string
  readonly text: string | null
  readonly shown: unknown
  readonly held: unknown
}

/**
 * The digest that a vote binds: change any of what was asked and the votes on it are void.
 * INVARIANT: it covers every field of `WhatIsAsked`, and is computed again from the row whenever votes are counted.
 */
export function requestHash(asked: WhatIsAsked): string {
  const { id, subject_id, on_behalf_of, resource, role, duration_s, reason, ticket_ref, held } = asked
  const what = { id, subject_id, on_behalf_of, resource, role, duration_s, reason, ticket_ref }
  return digest(canonical(held ? { ...what, held: heldDigest(held) } : what))
}

/** INVARIANT: it covers every field of `WhatIsHeld`. */
export function heldDigest({ session_id, connection_id, text, shown, held }: WhatIsHeld): string {
  return digest(canonical({ session_id, connection_id, text, shown, held } as Json))
}

export const bounds = {
  reason: 2000,
  ticket_ref: 100,
  name: 256,
  min_duration_s: 60,
  max_duration_s: 2_592_000, // what a policy's data may give at most
  pending: 20, // open requests of one subject
  grants: 200, // live grants of one subject
  hold_s: 86_400, // an action waits no longer, whatever policy says
} as const

const control = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/
const line = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/

/** What is wrong with the words of a request, or undefined. Line breaks and tabs are fine in a reason, no other control. */
export function problemOf(
  asked: Pick<WhatIsAsked, 'resource' | 'role' | 'duration_s' | 'reason' | 'ticket_ref'>,
): string | undefined {
  if (!named(asked.resource)) return 'the name of the resource is empty, too long or holds control characters'
  if (!named(asked.role)) return 'the name of the role is empty, too long or holds control characters'
  if (!Number.isSafeInteger(asked.duration_s)) return 'the duration is not a whole number of seconds'
  if (asked.duration_s < bounds.min_duration_s) return `the duration is shorter than ${bounds.min_duration_s} seconds`
  if (asked.duration_s > bounds.max_duration_s) return `the duration is longer than ${bounds.max_duration_s} seconds`
  const reason = reasonProblem(asked.reason)
  if (reason !== undefined) return reason
  const ref = asked.ticket_ref
  if (ref !== null && (ref === '' || ref.length > bounds.ticket_ref || line.test(ref) || !ref.isWellFormed())) {
    return `the ticket number is empty, longer than ${bounds.ticket_ref} characters or holds control characters`
  }
  return undefined
}

/** The same bounds hold for the reason of a revocation. */
export function reasonProblem(reason: string): string | undefined {
  if (reason.trim() === '') return 'the reason is empty'
  if (reason.length > bounds.reason) return `the reason is longer than ${bounds.reason} characters`
  if (control.test(reason) || !reason.isWellFormed()) return 'the reason holds control characters'
  return undefined
}

function named(name: string): boolean {
  return name !== '' && name.length <= bounds.name && !line.test(name) && name.isWellFormed()
}
