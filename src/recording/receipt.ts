/** What stays of a recording that was deleted (design §6). `step` is how far the deletion has come; `done` ends it. */
export interface Receipt {
  readonly recording_id: string
  readonly session_id: string
  readonly generation: number | null
  readonly commit: string | null
  readonly digest: string | null
  readonly decision_id: string
  readonly keep_s: number
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
}
