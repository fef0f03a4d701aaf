// What the pages need of the API's answers. The API's own schemas are the truth: GET /openapi.json.
export interface Me {
  readonly subject: {
    readonly id: string
    readonly name: string
    readonly email: string | null
    readonly groups: readonly string[]
  }
  readonly slack: { readonly team_id: string; readonly user_id: string } | null
}

export interface ResourceEntry {
  readonly name: string
  readonly protocol: string
  readonly labels: Readonly<Record<string, string>>
  readonly roles: readonly { readonly role: string; readonly max_s: number }[]
}

export interface RequestEntry {
  readonly id: string
  readonly kind: string
  readonly hash: string
  readonly subject: { readonly id: string; readonly name: string; readonly email: string | null }
  readonly on_behalf_of: string | null
  readonly resource: string
  readonly role: string
  readonly duration_s: number
  readonly reason: string
  readonly ticket_ref: string | null
  readonly state: string
  readonly created_at_ms: number
  readonly expires_at_ms: number
  readonly ended_at_ms: number | null
  readonly outcome: string | null
  readonly terms: {
    readonly stages: readonly {
      readonly approvers: readonly string[]
      readonly quorum: number
      readonly channel: string
    }[]
  } | null
  readonly votes: readonly {
    readonly approver: { readonly id: string; readonly name: string }
    readonly answer: string
    readonly stage: number
    readonly at_ms: number
    readonly via: string
  }[]
  readonly hold: {
    readonly session_id: string
    readonly text: string | null
    readonly shown: readonly { readonly label: string; readonly lines: readonly string[]; readonly more?: number }[]
    readonly released_at_ms: number | null
    readonly unused: string | null
  } | null
  readonly grant: { readonly id: string; readonly ends_at_ms: number } | null
}

export interface SessionEntry {
  readonly id: string
  readonly subject: { readonly id: string; readonly name: string }
  readonly resource: string
  readonly role: string
  readonly opened_at_ms: number
  readonly ended_at_ms: number | null
  readonly end_reason: string | null
  readonly open_connections: number
}

export interface GrantEntry {
  readonly id: string
  readonly subject: { readonly id: string; readonly name: string }
  readonly resource: string
  readonly role: string
  readonly ends_at_ms: number
}

export type { ReviewEntry } from '../api/reviews.ts'

export interface ProposalEntry {
  readonly id: string
  readonly kind: string
  readonly body: Readonly<Record<string, unknown>>
  readonly reason: string
  readonly state: string
  readonly proposed_by: { readonly id: string; readonly name: string }
  readonly proposed_at_ms: number
  readonly expires_at_ms: number
  readonly answered_by: { readonly id: string; readonly name: string } | null
  readonly progress: Readonly<Record<string, unknown>>
  readonly done_at_ms: number | null
}

export interface ErasurePreview {
  readonly recordings: number
  readonly held: number
  readonly open: number
  readonly rows: Readonly<Record<string, number>>
  readonly name: string
}

export interface PreviewAnswer {
  readonly at_ms: number
  readonly recordings: readonly {
    readonly recording_id: string
    readonly session_id: string
    readonly subject: { readonly name: string }
    readonly resource: string
    readonly sealed_at_ms: number
    readonly keep_s: number
    readonly locked_until_ms: number | null
  }[]
  readonly more: boolean
  readonly kept: { readonly live: number; readonly held: number; readonly young: number; readonly undecided: number }
  readonly logs: Readonly<
    Record<string, { readonly keep_s: number | null; readonly count: number; readonly more: boolean }>
  >
}

export interface Page<Item> {
  readonly items: readonly Item[]
  readonly next: string | null
}
