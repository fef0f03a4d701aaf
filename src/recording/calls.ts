import { type KeyObject, randomBytes, sign, verify } from 'node:crypto'
import { canonical, type Json } from '../canonical.ts'
import { type ErrorCode, errorCodes } from '../errors.ts'

/**
 * A call from control to the replay process. Control says who asks and what; the replay process believes it only with
 * control's signature (Ed25519, key `replay-calls`), fresh, and once. It decides for itself whether they may.
 */
export interface CallFacts {
  readonly method: 'GET'
  readonly path: string // with its query
  readonly subject_id: string
  readonly on_behalf_of: string | null
  readonly token: { readonly id: string; readonly scopes: readonly string[] } | null
  readonly via: string
}

interface Claims extends CallFacts {
  readonly v: 1
  readonly at_ms: number
  readonly nonce: string
}

const scheme = 'Sallyport-Call '
const context = 'sallyport replay call 1\n'
const freshMs = 30_000
const maxHeader = 16_384
const maxNonces = 20_000

/** The `authorization` header of one call. */
export function signCall(key: KeyObject, facts: CallFacts, now_ms: number): string {
  const { method, path, subject_id, on_behalf_of, token, via } = facts
  const claims: Claims = {
    v: 1,
    method,
    path,
    subject_id,
    on_behalf_of,
    token,
    via,
    at_ms: now_ms,
    nonce: randomBytes(16).toString('base64url'),
  }
  const text = canonical(claims as unknown as Json)
  return `${scheme}${Buffer.from(text).toString('base64url')}.${sign(null, Buffer.from(context + text), key).toString('base64url')}`
}

/** Checks calls. Each nonce is taken once; when too many are remembered, calls are refused rather than forgotten. */
export class CallVerifier {
  readonly #key: KeyObject
  readonly #now: () => number
  readonly #seen = new Map<string, number>()

  constructor(key: KeyObject, now: () => number) {
    if (key.asymmetricKeyType !== 'ed25519')
      throw new TypeError('calls to the replay process are signed with an Ed25519 key')
    this.#key = key
    this.#now = now
  }

  /** @returns the facts, or why the call is not believed. */
  check(method: string, path: string, authorization: string | undefined): CallFacts | { readonly refused: string } {
    if (authorization === undefined || !authorization.startsWith(scheme))
      return { refused: 'it carries no signature of the control plane' }
    if (authorization.length > maxHeader) return { refused: 'its authorization is too long' }
    const [body, signature, ...rest] = authorization.slice(scheme.length).split('.')
    if (body === undefined || signature === undefined || rest.length > 0)
      return { refused: 'its authorization is malformed' }
    const text = Buffer.from(body, 'base64url')
    const bytes = Buffer.from(signature, 'base64url')
    if (bytes.length !== 64 || verify(null, Buffer.concat([Buffer.from(context), text]), this.#key, bytes) !== true) {
      return { refused: 'it is not signed by the control plane' }
    }
    const claims = JSON.parse(text.toString('utf8')) as Claims // control's own words from here on
    const now = this.#now()
    if (claims.v !== 1 || claims.method !== method || claims.path !== path)
      return { refused: 'it was signed for another call' }
    if (!(Math.abs(now - claims.at_ms) <= freshMs)) return { refused: 'it is not fresh: look at the clocks' }
    for (const [nonce, until] of this.#seen) {
      if (until >= now) break
      this.#seen.delete(nonce)
    }
    if (this.#seen.has(claims.nonce)) return { refused: 'it was made before' }
    if (this.#seen.size >= maxNonces) return { refused: 'too many calls are under way' }
    this.#seen.set(claims.nonce, now + 2 * freshMs)
    return claims
  }
}

/** The code of an answer's `error` that control passes on; one that the registry does not know is a fault of ours. */
export function errorCodeOf(code: unknown): ErrorCode {
  return typeof code === 'string' && code in errorCodes ? (code as ErrorCode) : 'internal'
}
