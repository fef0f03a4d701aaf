import type { ErrorCode } from '../errors.ts'
import { errorCodes } from '../errors.ts'
import type { Decision } from '../policy/decision.ts'
import type { DecisionCode, Reason } from '../policy/points.ts'

/** A denial is a value. `decision_id` is null where no policy was asked: the state of things said no. */
export interface Refused {
  readonly refused: true
  readonly code: ErrorCode
  readonly message: string
  readonly remedy: string
  readonly decision_id: string | null
  readonly reasons: readonly Reason[]
  /** Asking for access is the way to get it. */
  readonly ask?: true
}

export function refuse(code: ErrorCode, message: string, remedy: string = errorCodes[code].remedy): Refused {
  return { refused: true, code, message, remedy, decision_id: null, reasons: [] }
}

/** Codes with which policy itself, or a rule of ours that stands in its input, said no. The others are faults. */
const verdicts: ReadonlySet<DecisionCode> = new Set(['policy', 'token_scope', 'groups_stale', 'votes_unsatisfied'])

/**
 * Whether policy answered, rather than failed to. A failure refuses what is asked now; only an answer ends for ever what
 * was given before.
 */
export function isVerdict(decision: Decision): boolean {
  return decision.code === 'policy' || decision.code === 'votes_unsatisfied'
}

/** The refusal that a decision other than allow amounts to, with each rule and where it stands. */
export function refusedBy(decision: Decision): Refused {
  const code: ErrorCode = verdicts.has(decision.code)
    ? 'policy_denied'
    : decision.code === 'unsupported'
      ? 'unsupported'
      : 'policy_unavailable'
  const unanswered = decision.effect === 'ask' && decision.code === 'votes_unsatisfied'
  const lead = unanswered ? 'the recorded votes do not satisfy the approval that policy asks for now: ' : ''
  return {
    refused: true,
    code,
    message: lead + reasonText(decision),
    remedy: decision.reasons.find(r => r.remedy !== undefined)?.remedy ?? errorCodes[code].remedy,
    decision_id: decision.id,
    reasons: decision.reasons,
  }
}

/** `message (rule, file:line@commit)`, one after the other. */
export function reasonText(decision: Decision): string {
  if (decision.reasons.length === 0) return `policy answered ${decision.effect} (${decision.code})`
  return decision.reasons.map(r => `${r.message} (${r.at === undefined ? r.rule : `${r.rule}, ${r.at}`})`).join('; ')
}
