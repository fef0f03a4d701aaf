/**
 * The one registry of error codes: HTTP status and what the reader may do next. A protocol's own words (SQLSTATE, exit
 * codes) stay in its folder and map from these.
 */
export const errorCodes = {
  bad_request: { status: 400, remedy: 'correct the request and send it again' },
  bad_config: { status: 500, remedy: 'correct the setting and start again' },
  unauthenticated: { status: 401, remedy: 'sign in, then try again' },
  policy_denied: { status: 403, remedy: 'ask for access, or ask the owners of the policy' },
  policy_unavailable: { status: 503, remedy: 'ask a security engineer to look at `sallyport policy status`' },
  not_found: { status: 404, remedy: 'look at the name again; `sallyport resources` lists what you may see' },
  conflict: { status: 409, remedy: 'load the present state and decide again' },
  gone: { status: 410, remedy: 'start over: this one has ended' },
  rate_limited: { status: 429, remedy: 'wait a minute, then try again' },
  unsupported: { status: 501, remedy: 'choose what this build can carry out, or upgrade' },
  ticket_refused: { status: 403, remedy: 'run `sallyport connect` for a fresh ticket' },
  session_ended: { status: 403, remedy: 'ask for access again, then run `sallyport connect`' },
  target_unavailable: {
    status: 502,
    remedy: 'check that the resource is up and that its address and secret are right',
  },
  recording_unavailable: { status: 503, remedy: 'ask an operator to look at the disk of the gateway' },
  bucket_unavailable: {
    status: 503,
    remedy: 'ask an operator to look at the bucket, its credentials and the network between',
  },
  audit_unavailable: { status: 503, remedy: 'ask an operator to look at the database' },
  not_ready: { status: 503, remedy: 'wait a few seconds, then try again' },
  internal: { status: 500, remedy: 'try again; if it happens again, give the operator the error id' },
} as const satisfies Record<string, { status: number; remedy: string }>

export type ErrorCode = keyof typeof errorCodes

/** A fault or refusal that a person will read. Messages are lower case, say what was refused, and carry no secret. */
export class SallyportError extends Error {
  override readonly name: string = 'SallyportError'
  readonly code: ErrorCode
  readonly remedy: string
  /** Facts for the reader or a program: decision id, rule, file:line@commit, field. Never a secret. */
  readonly facts: Readonly<Record<string, unknown>>

  constructor(
    code: ErrorCode,
    message: string,
    options: { remedy?: string; facts?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.remedy = options.remedy ?? errorCodes[code].remedy
    this.facts = options.facts ?? {}
  }

  get status(): number {
    return errorCodes[this.code].status
  }
}
