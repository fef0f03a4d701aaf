import * as oidc from 'openid-client'
import type { Config } from '../config.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { Secret } from '../secret.ts'

const log = logger('identity')

/** Signatures we accept on ID tokens: asymmetric ones only, so that no shared text can forge one (RFC 8725 §3.1). */
const algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519']
const rediscover_ms = 3_600_000
const retry_ms = 1_000

export interface Tokens {
  readonly claims: Readonly<Record<string, unknown>>
  readonly refresh_token: string | undefined
}

/** Why the identity provider's answer was not good. `invalid_grant`: it does not know this code or refresh token (any more). */
export class ProviderError extends Error {
  override readonly name = 'ProviderError'
  readonly reason: string
  /** It refused in its own words, and so has exchanged nothing. False for a time-out, a broken line, a 5xx, an odd answer. */
  readonly answered: boolean
  /** The refresh token that it gave before the rest failed: the one before is no longer good. */
  readonly rotated: string | undefined

  constructor(reason: string, more: { answered?: boolean; rotated?: string | undefined } = {}) {
    super(reason)
    this.reason = reason
    this.answered = more.answered ?? false
    this.rotated = more.rotated
  }
}

/** One OpenID Connect issuer. Its metadata is fetched when first needed and again every hour; a failure is retried. */
export class Provider {
  readonly issuer: string
  readonly redirect_uri: string
  readonly #settings: Config['oidc']
  readonly #secret: Secret | undefined
  #known: { config: oidc.Configuration; at: number } | null = null
  #pending: Promise<oidc.Configuration> | null = null
  #failed_at = Number.NEGATIVE_INFINITY

  constructor(options: { settings: Config['oidc']; secret: Secret | undefined; origin: string }) {
    this.issuer = options.settings.issuer
    this.redirect_uri = `${options.origin}/auth/callback`
    this.#settings = options.settings
    this.#secret = options.secret
    const { protocol, hostname } = new URL(this.issuer)
    if (protocol !== 'https:' && !(options.settings.allow_http && isLoopback(hostname))) {
      throw new SallyportError('bad_config', `the issuer ${this.issuer} is not https`, {
        remedy: 'use an https issuer; http is for a development issuer on loopback with `allow_http`',
      })
    }
  }

  /** @throws ProviderError when the issuer cannot be reached or its metadata does not fit. */
  async authorizeUrl(check: { state: string; nonce: string; verifier: string }): Promise<string> {
    const config = await this.#config()
    return oidc.buildAuthorizationUrl(config, {
      redirect_uri: this.redirect_uri,
      scope: this.#settings.scopes,
      state: check.state,
      nonce: check.nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(check.verifier),
      code_challenge_method: 'S256',
      // an issuer gives a refresh token for offline_access only where consent is asked (OpenID Connect Core §11)
      ...(this.#settings.scopes.split(' ').includes('offline_access') ? { prompt: 'consent' } : {}),
    }).href
  }

  /** Exchanges the code of a callback: state, nonce, PKCE, `iss`, signature, audience and times are checked by the library. */
  async exchange(callback: URL, check: { state: string; nonce: string; verifier: string }): Promise<Tokens> {
    const config = await this.#config()
    const url = new URL(this.redirect_uri)
    url.search = callback.search
    return this.#ask(async () => {
      const answer = await oidc.authorizationCodeGrant(config, url, {
        expectedState: check.state,
        expectedNonce: check.nonce,
        pkceCodeVerifier: check.verifier,
        idTokenExpected: true,
      })
      return { claims: await this.#claims(config, answer), refresh_token: answer.refresh_token }
    })
  }

  /** Claims as they are now. @throws ProviderError with `invalid_grant` when the person's session there has ended. */
  async refresh(refresh_token: string, subject: string): Promise<Tokens> {
    const config = await this.#config()
    return this.#ask(async () => {
      const answer = await oidc.refreshTokenGrant(config, refresh_token)
      const rotated = answer.refresh_token
      try {
        const claims =
          answer.id_token === undefined
            ? await oidc.fetchUserInfo(config, answer.access_token, subject)
            : await this.#claims(config, answer)
        if (claims['sub'] !== subject) throw new ProviderError('subject_changed')
        return { claims, refresh_token: rotated }
      } catch (error) {
        throw new ProviderError(reasonOf(error), { answered: true, rotated })
      }
    })
  }

  /** Where a browser signs out at the issuer; null when the issuer offers no such place or cannot be reached now. */
  async endSessionUrl(return_to: string): Promise<string | null> {
    try {
      const config = await this.#config()
      if (config.serverMetadata().end_session_endpoint === undefined) return null
      return oidc.buildEndSessionUrl(config, { post_logout_redirect_uri: return_to }).href
    } catch {
      return null
    }
  }

  /** Claims of the ID token; those that an issuer gives only at its user-info endpoint are added from there. */
  async #claims(config: oidc.Configuration, answer: oidc.TokenEndpointResponse & oidc.TokenEndpointResponseHelpers) {
    const claims = answer.claims()
    if (claims === undefined) throw new ProviderError('no_id_token')
    const named = this.#settings.groups_claim
    if (Object.hasOwn(claims, named) || config.serverMetadata().userinfo_endpoint === undefined) return claims
    return { ...(await oidc.fetchUserInfo(config, answer.access_token, claims.sub)), ...claims }
  }

  async #config(): Promise<oidc.Configuration> {
    const now = performance.now()
    if (this.#known !== null && now - this.#known.at < rediscover_ms) return this.#known.config
    if (this.#pending === null) {
      if (now - this.#failed_at < retry_ms) {
        if (this.#known !== null) return this.#known.config
        throw new ProviderError('issuer_unreachable')
      }
      this.#pending = this.#discover().finally(() => {
        this.#pending = null
      })
    }
    try {
      return await this.#pending
    } catch (error) {
      if (this.#known !== null) return this.#known.config // known metadata is better than none; keys have their own lifetime
      throw error
    }
  }

  async #discover(): Promise<oidc.Configuration> {
    try {
      const insecure = new URL(this.issuer).protocol === 'http:'
      const auth = this.#secret === undefined ? oidc.None() : oidc.ClientSecretBasic(this.#secret.reveal())
      const client_id = this.#settings.client_id
      const found = await oidc.discovery(new URL(this.issuer), client_id, undefined, auth, {
        timeout: 10,
        execute: insecure ? [oidc.allowInsecureRequests] : [],
      })
      const server = found.serverMetadata()
      const offered = server.id_token_signing_alg_values_supported ?? ['RS256']
      const accepted = offered.filter(alg => algorithms.includes(alg))
      if (accepted.length === 0) throw new ProviderError('no_accepted_signature_algorithm')
      const { supportsPKCE: _, ...metadata } = server
      const config = new oidc.Configuration(
        { ...metadata, id_token_signing_alg_values_supported: accepted },
        client_id,
        undefined,
        auth,
      )
      config.timeout = 10
      oidc.enableNonRepudiationChecks(config) // verify the ID token's signature although it came over TLS
      if (insecure) oidc.allowInsecureRequests(config)
      this.#known = { config, at: performance.now() }
      return config
    } catch (error) {
      this.#failed_at = performance.now()
      log.error(
        { issuer: this.issuer, reason: reasonOf(error) },
        'the metadata of the identity provider cannot be used',
      )
      throw error instanceof ProviderError ? error : new ProviderError('issuer_unreachable')
    }
  }

  async #ask<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      throw error instanceof ProviderError ? error : new ProviderError(reasonOf(error), { answered: isRefusal(error) })
    }
  }
}

/** A refusal by the protocol's rules (RFC 6749 §5.2); anything else leaves open what happened there. */
function isRefusal(error: unknown): boolean {
  return error instanceof oidc.ResponseBodyError && error.status >= 400 && error.status < 500
}

/** A word for the log. The library's errors may carry whole responses, tokens included: nothing else of them is kept. */
function reasonOf(error: unknown): string {
  if (error instanceof ProviderError) return error.reason
  if (error instanceof oidc.ResponseBodyError || error instanceof oidc.AuthorizationResponseError) {
    return /^[a-z_]{1,64}$/.test(error.error) ? error.error : 'error_response'
  }
  if (error instanceof oidc.ClientError) return (error.code ?? 'client_error').toLowerCase()
  return 'request_failed'
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}
