/** What policy is told of a subject. `policy/points.ts` checks the same shape; a test holds the two together. */
export interface SubjectFacts {
  id: string
  kind: 'person' | 'machine' | 'system'
  issuer: string
  subject: string
  name: string
  email: string | null
  groups: string[]
  groups_at_ms: number
  claims: Record<string, unknown>
  on_behalf_of: string | null
  token: { id: string; scopes: string[] } | null
}

/** An authenticated call: who, and with what kind of credential. */
export interface Caller {
  readonly facts: SubjectFacts
  readonly via: 'web' | 'cli' | 'token'
  /** Names the credential in events: a token's id, or the start of the hash of a session. Never a secret. */
  readonly credential: string
}

/** The subject in whose name the control plane itself acts (reaping a lease, for instance). */
export const systemFacts: SubjectFacts = Object.freeze({
  id: 'system',
  kind: 'system',
  issuer: 'sallyport',
  subject: 'system',
  name: 'Sallyport',
  email: null,
  groups: [],
  groups_at_ms: 0,
  claims: {},
  on_behalf_of: null,
  token: null,
})
