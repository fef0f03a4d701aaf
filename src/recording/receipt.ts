/** What stays of a recording that was deleted (design §6). `step` is how far the deletion has come; `done` ends it. */
export interface Receipt {
  readonly recording_id: string
  readonly session_id: string
  readonly generation: number | null
  readonly commit: string | null
  readonly digest: string | null
  readonly decision_id: string
  readonly keep_s: number
  /** What nobody may go below alone; `keep_s` is never less. Absent in receipts of before 2026-11-26. */
  readonly floor_s?: number
  /** The erasure that ended it before its time; then `keep_s` is 0. */
  readonly erasure?: string
  readonly sealed_at_ms: number
  readonly expired_at_ms: number
  readonly hold_checked_at_ms: number
  readonly keys_destroyed: number
  readonly keys_destroyed_at_ms: number
  readonly segments: number
  readonly bytes: number
  readonly seal_hash: string
  readonly step: 'keys' | 'data' | 'done'
  readonly data_removed_at_ms: number | null
  /** Until when the store itself refuses to remove the data, whose keys are gone; null: while a hold stands there. */
  readonly locked_until_ms?: number | null
}
