import type { DecisionCode, Point, Reason, Result } from './points.ts'

/** The answer of `decide()`. For a data point `effect` is `data`, or `deny` where the point gave no usable answer. */
export interface Decision<P extends Point = Point> {
  readonly id: string // dec_…
  readonly point: P
  readonly at_ms: number
  readonly effect: 'allow' | 'deny' | 'ask' | 'data'
  readonly code: DecisionCode
  readonly reasons: readonly Reason[]
  readonly result: Result<P> | null
  readonly generation: number | null
  readonly commit: string | null
  readonly digest: string | null
  readonly input: string // canonical JSON
  readonly input_digest: string
  readonly about: {
    readonly subject_id: string | null
    readonly resource: string | null
    readonly session_id: string | null
    readonly request_id: string | null
  }
}
