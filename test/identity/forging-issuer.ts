import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, SignJWT } from 'jose'

export interface ForgingIssuer {
  readonly issuer: string
  readonly key: KeyObject
  /** What the key set answers; null means that it is down. */
  jwks: object | null
  /** Makes the ID token of the next exchange. */
  idToken: (claims: Record<string, unknown>) => Promise<string>
  /** Added to the claims. */
  claims: Record<string, unknown>
  userinfo: Record<string, unknown> | null
  nonce: string | undefined
  metadata: Record<string, unknown>
  down: boolean
  stop(): Promise<void>
}

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })

/** An issuer that signs whatever a test wants: what an honest provider never sends. */
export async function startForgingIssuer(): Promise<ForgingIssuer> {
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' }
  const server = createServer((request, response) => {
    const json = (body: unknown, status = 200) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    if (issuer.down) return json({}, 503)
    const { pathname } = new URL(request.url ?? '/', issuer.issuer)
    if (pathname === '/.well-known/openid-configuration') {
      return json({
        issuer: issuer.issuer,
        authorization_endpoint: `${issuer.issuer}/authorize`,
        token_endpoint: `${issuer.issuer}/token`,
        jwks_uri: `${issuer.issuer}/jwks`,
        ...(issuer.userinfo === null ? {} : { userinfo_endpoint: `${issuer.issuer}/userinfo` }),
        response_types_supported: ['code'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['RS256', 'HS256', 'none'],
        ...issuer.metadata,
      })
    }
    if (pathname === '/jwks') return issuer.jwks === null ? json({}, 503) : json(issuer.jwks)
    if (pathname === '/userinfo') return json(issuer.userinfo)
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      iss: issuer.issuer,
      aud: 'sallyport',
      sub: 'mallory',
      iat: now,
      exp: now + 300,
      groups: ['engineers'],
      ...(issuer.nonce === undefined ? {} : { nonce: issuer.nonce }),
      ...issuer.claims,
    }
    void issuer
      .idToken(claims)
      .then(id_token => json({ access_token: 'a', token_type: 'Bearer', expires_in: 300, id_token }))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const issuer: ForgingIssuer = {
    issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    key: privateKey,
    jwks: { keys: [jwk] },
    idToken: claims => new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: 'k1' }).sign(privateKey),
    claims: {},
    userinfo: null,
    nonce: undefined,
    metadata: {},
    down: false,
    stop: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
  return issuer
}
