import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { startIdentityProvider } from '../../src/dev/idp/provider.ts'
import type { Identity } from '../../src/identity/door.ts'
import { createIdentity } from '../../src/identity/identity.ts'
import type { Lifetimes } from '../../src/identity/web-sessions.ts'
import { newId } from '../../src/ids.ts'
import { createRootKey } from '../../src/keys.ts'
import { Secret } from '../../src/secret.ts'
import { createTestDatabase } from '../support/database.ts'
import type { FrailProvider } from '../support/frail-provider.ts'
import { Browser } from './browser.ts'

export const clientSecret = 'client-secret-of-the-tests'

/** Settings that fit the development identity provider. */
export function oidcSettings(issuer: string) {
  return {
    issuer,
    client_id: 'sallyport',
    groups_claim: 'groups',
    scopes: 'openid profile email groups offline_access',
    refresh_s: 5,
    max_groups_age_s: 60,
    allow_http: true,
  }
}

/** Identity on a real database, with a real identity provider, for an origin at which nothing needs to listen. */
export async function identityWorld(
  options: { origin?: string; issuer?: string; lifetimes?: Lifetimes; front?: FrailProvider } = {},
) {
  const origin = options.origin ?? 'http://127.0.0.1:4000'
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-identity-'))
  const clients = [
    {
      client_id: 'sallyport',
      client_secret: clientSecret,
      redirect_uris: [`${origin}/auth/callback`],
      post_logout_redirect_uris: [`${origin}/`],
    },
  ]
  const { front } = options
  const idp = await startIdentityProvider({
    port: 0,
    clients,
    ...(front === undefined ? {} : { issuer: front.issuer }),
  })
  if (front !== undefined) front.behind = `http://127.0.0.1:${idp.port}`
  const test = await createTestDatabase()
  const { database } = test
  const audit = createAuditWriter({ database, process_id: newId('prc') })
  const root = createRootKey(join(dir, 'control.key'))
  const changed: string[] = []
  const live = new Set<string>()
  const config = { origin, oidc: oidcSettings(options.issuer ?? idp.issuer) }
  const identity = createIdentity({
    database,
    audit,
    config,
    root,
    client_secret: new Secret(clientSecret),
    lifetimes: options.lifetimes,
    ports: { liveSubjects: async () => [...live], onGroupsChanged: id => changed.push(id) },
  })
  return {
    origin,
    idp,
    database,
    audit,
    identity,
    changed,
    live,
    root,
    config,
    stop: async () => {
      await idp.stop()
      await test.drop()
      rmSync(dir, { recursive: true })
    },
  }
}

export type IdentityWorld = Awaited<ReturnType<typeof identityWorld>>

/** A sign-in as far as the browser being sent back to our callback. */
export async function untilCallback(world: IdentityWorld, sub: string, browser = new Browser()) {
  const begun = await world.identity.beginSignIn({ return_to: '/requests', address: '192.0.2.1' })
  if (!begun.ok) throw new Error(begun.message)
  const back = await browser.signIn(begun.url, sub, url => url.startsWith(world.origin))
  return { begun, callback: new URL(back.url), browser }
}

export async function signIn(world: IdentityWorld, sub: string) {
  const { begun, callback } = await untilCallback(world, sub)
  const done = await finish(world.identity, callback, begun.browser)
  if (!done.ok) throw new Error(done.message)
  return done
}

export function finish(identity: Identity, url: URL, browser: string | undefined) {
  return identity.finishSignIn({ url, browser, address: '192.0.2.1', user_agent: 'test' })
}

/** Types of the events in the log, in order of writing. */
export async function eventTypes(world: IdentityWorld): Promise<string[]> {
  const rows = await world.database.sql<{ type: string }[]>`select type from audit_inbox order by at_ms, id`
  return rows.map(row => row.type)
}

export function pkce(): { verifier: string; challenge: string } {
  const verifier = randomBytes(32).toString('base64url')
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') }
}
