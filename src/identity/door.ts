import type { Tx } from '../db/database.ts'
import type { Caller, SubjectFacts } from './facts.ts'

/** Why a sign-in, code or credential was refused; `message` is for the person, and holds no secret. */
export interface Refusal {
  readonly ok: false
  readonly code: 'unauthenticated' | 'bad_request' | 'gone' | 'conflict' | 'rate_limited' | 'not_ready'
  readonly message: string
}
export type Outcome<T> = ({ readonly ok: true } & T) | Refusal

export interface IssuedToken {
  readonly id: string
  /** Shown once: `sallyport_<id>_<secret>`. */
  readonly token: string
  readonly subject_id: string
  readonly expires_at_ms: number
}

export interface TokenRow {
  readonly id: string
  readonly subject_id: string
  readonly subject_name: string
  readonly kind: 'person' | 'machine' | 'system'
  readonly name: string
  readonly scopes: readonly string[]
  readonly created_by: string
  readonly created_at_ms: number
  readonly expires_at_ms: number
  readonly revoked_at_ms: number | null
  readonly used_at_ms: number | null
}

export interface TokenFilter {
  readonly id?: string | undefined
  readonly subject_id?: string | undefined
  readonly limit: number
  /** Ids sort by time: the page after this one. */
  readonly before?: string | undefined
}

export interface SubjectRow {
  readonly id: string
  readonly kind: 'person' | 'machine' | 'system'
  readonly issuer: string
  readonly name: string
  readonly email: string | null
  readonly groups: readonly string[]
  readonly created_at_ms: number
  readonly disabled_at_ms: number | null
  readonly left_at_ms: number | null
}

export interface SubjectFilter {
  /** Id, name or e-mail address, exactly. */
  readonly name?: string | undefined
  readonly limit: number
  readonly after?: string | undefined
}

export interface SlackBinding {
  readonly team_id: string
  readonly user_id: string
  readonly bound_at_ms: number
}

/** The door of this room. Every time in it is the database's. */
export interface Identity {
  /** Starts a sign-in. `browser` goes into a cookie of this browser: the callback must bring it back. */
  beginSignIn(input: {
    return_to: string
    address: string
  }): Promise<Outcome<{ url: string; cookie: string; browser: string }>>
  /** The name of the cookie that binds the sign-in of this state to its browser. */
  signInCookie(state: string): string
  /** Ends a sign-in: the whole callback URL, and what the browser's cookie said. */
  finishSignIn(input: {
    url: URL
    browser: string | undefined
    address: string
    user_agent: string | undefined
  }): Promise<Outcome<{ session: string; max_age_s: number; return_to: string; subject_id: string }>>
  /** Ends the web or CLI session of this credential. @returns where the browser signs out at the identity provider, if it can. */
  signOut(caller: Caller, credentials: Credentials): Promise<{ end_session_url: string | null }>

  /** A code for the command line of a signed-in person, for one use within a minute. */
  issueCliCode(caller: Caller, input: { challenge: string; port: number }): Promise<string>
  redeemCliCode(input: {
    code: string
    verifier: string
    address: string
    user_agent: string | undefined
  }): Promise<Outcome<{ token: string; expires_at_ms: number; subject: { id: string; name: string } }>>

  /** Who calls: null when there is no credential or it is no longer good. A bearer that is not good is never made good by a cookie. */
  authenticate(credentials: Credentials): Promise<Caller | null>

  /** Issues a token for the caller, or for a machine that is made on first use. */
  issueToken(caller: Caller, input: NewToken): Promise<Outcome<IssuedToken>>
  /** Newest first. */
  listTokens(filter: TokenFilter): Promise<TokenRow[]>
  token(id: string): Promise<TokenRow | null>
  /** Ends a token and those that were issued with it. @returns false when there is no such token or it ended before. */
  revokeToken(caller: Caller, id: string): Promise<boolean>

  /** Facts of a subject as they are now; null when unknown or disabled. */
  subjectFacts(id: string, tx?: Tx): Promise<SubjectFacts | null>

  listSubjects(filter: SubjectFilter): Promise<SubjectRow[]>
  /** One subject, disabled or not. */
  subject(id: string): Promise<SubjectRow | null>
  /** Disables or enables a person or machine, and tells everybody who decided something on their account. */
  setDisabled(caller: Caller, id: string, disabled: boolean, reason: string): Promise<Outcome<{ name: string }>>

  /** Eight characters that bind the Slack account which types them within two minutes. */
  createLinkCode(subject_id: string): Promise<{ code: string; expires_at_ms: number }>
  bindSlack(input: {
    team_id: string
    user_id: string
    code: string
  }): Promise<Outcome<{ subject: { id: string; name: string } }>>
  unbindSlack(subject_id: string): Promise<boolean>
  bySlack(team_id: string, user_id: string): Promise<SubjectFacts | null>
  slackOf(subject_id: string): Promise<SlackBinding | null>

  /** Refreshes the groups of people with something live whose time has come; call it every second or so. @returns how many. */
  refreshDue(): Promise<number>
  /** Deletes what has expired; call it every minute or so. */
  sweep(): Promise<void>
}

export interface Credentials {
  readonly cookie?: string | undefined
  readonly bearer?: string | undefined
}

export interface NewToken {
  readonly name: string
  readonly scopes: readonly string[]
  readonly expires_s: number
  readonly machine?: { readonly name: string; readonly groups: readonly string[] } | undefined
}
