import { canonical, digest } from '../../canonical.ts'

/**
 * What a recording was when it was sealed. `seal_hash` is the SHA-256 of its canonical JSON; it goes into the audit log, so
 * that the seal, and through `head` every byte of every segment, can be checked against the log for ever.
 */
export interface Seal {
  readonly v: 1
  readonly recording_id: string
  readonly session_id: string
  readonly state: 'sealed' | 'interrupted'
  readonly sealed_at_ms: number
  readonly former: string | null // hash of the seal that this one renews
  readonly parts: readonly SealedPart[]
}

export interface SealedPart {
  readonly part: number
  readonly part_id: string
  readonly layer?: 'originals' // absent: what the person saw
  readonly process_id: string
  readonly started_at_ms: number
  readonly ending: 'clean' | 'lost' | 'recovered' | 'missing'
  readonly segments: number
  readonly last_seq: number
  readonly head: string // hash of the last segment, '' when there is none
  readonly bytes: number
  readonly gaps: readonly { readonly from_seq: number; readonly to_seq: number }[]
  readonly tail_missing_from: number | null
}

/** Members of other types never get in: the seal is read back from the database and hashed again. */
export function sealHash(seal: Seal): string {
  return digest(
    canonical({
      v: seal.v,
      recording_id: seal.recording_id,
      session_id: seal.session_id,
      state: seal.state,
      sealed_at_ms: seal.sealed_at_ms,
      former: seal.former,
      parts: seal.parts.map(part => ({ ...part, gaps: part.gaps.map(gap => ({ ...gap })) })),
    }),
  )
}
