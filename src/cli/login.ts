import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SallyportError } from '../errors.ts'
import { challengeOf, confirmationText } from '../identity/pkce.ts'
import { Secret } from '../secret.ts'
import { openClient } from './client.ts'
import { checkedOrigin } from './origin.ts'
import { plain, say } from './output.ts'
import { lastOrigin, loadProfile, saveProfile } from './profile.ts'

const patience_ms = 5 * 60_000

/**
 * Signs in through the browser (RFC 8252): a loopback listener waits for a one-time code, which is exchanged together
 * with a PKCE verifier that never left this process.
 */
export async function login(options: { origin?: string; profile?: string; open?: boolean }): Promise<void> {
  const origin = checkedOrigin(options.origin ?? lastOrigin(options.profile))
  await expectControlPlane(origin)
  const verifier = randomBytes(32).toString('base64url')
  const challenge = challengeOf(verifier)
  const state = randomBytes(32).toString('base64url')
  const listener = createServer()
  await new Promise<void>((resolve, reject) => listener.once('error', reject).listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as AddressInfo
  const url = new URL(`/auth/cli?port=${port}&challenge=${challenge}&state=${state}`, origin)
  say(
    `Open this page in your browser to sign in:\n\n  ${url.href}\n\nThe page must show ${confirmationText(challenge)}\n`,
  )
  try {
    const code = await waitForCode(listener, state)
    const response = await fetch(new URL('/auth/cli/token', origin), {
      method: 'POST',
      redirect: 'error',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ code, verifier }),
    })
    const answer = (await response.json().catch(() => null)) as {
      token?: string
      subject?: { name?: string }
      error?: { message?: string }
    } | null
    if (!response.ok || typeof answer?.token !== 'string') {
      throw new SallyportError('unauthenticated', answer?.error?.message ?? 'the sign-in was not completed', {
        remedy: 'run `sallyport login` again',
      })
    }
    const name = answer.subject?.name ?? ''
    saveProfile(options.profile, { origin, token: new Secret(answer.token), name })
    say(`Signed in as ${plain(name)}.`)
  } finally {
    listener.close()
    listener.closeAllConnections()
  }
}

/** A link that leads nowhere is worse than an error: ask first whether a control plane answers there. */
async function expectControlPlane(origin: string): Promise<void> {
  const response = await fetch(new URL('/healthz', origin), {
    redirect: 'error',
    signal: AbortSignal.timeout(10_000),
  }).catch(() => undefined)
  if (response?.ok === true) return
  const what = response === undefined ? 'nothing answers' : 'what answers is no control plane'
  throw new SallyportError('not_ready', `${what} at ${origin}`, {
    remedy: 'check that it runs (`npm start`), and give its address with --origin',
  })
}

/** Ends the session at the control plane and forgets the credentials here. */
export async function logout(options: { profile?: string }): Promise<void> {
  const profile = loadProfile(options.profile)
  await openClient(profile)
    .post('/auth/logout', {})
    .catch(() => say('The control plane did not answer; the credentials are forgotten here all the same.'))
  saveProfile(options.profile, undefined)
  say('Signed out.')
}

/** INVARIANT: a code counts only with the state of this very sign-in. */
function waitForCode(listener: ReturnType<typeof createServer>, state: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () =>
        reject(
          new SallyportError('gone', 'nobody signed in within 5 minutes', { remedy: 'run `sallyport login` again' }),
        ),
      patience_ms,
    )
    listener.on('request', (request, response) => {
      const url = new URL(request.url ?? '/', 'http://127.0.0.1')
      const code = url.searchParams.get('code')
      response.setHeader('content-type', 'text/plain; charset=utf-8').setHeader('connection', 'close')
      const ours = url.searchParams.get('state') === state
      if (request.method !== 'GET' || !ours || code === null || !/^[\w-]{16,256}$/.test(code)) {
        response.writeHead(404).end('Nothing here.\n')
        return
      }
      response.end('Signed in. You can close this page and go back to the terminal.\n')
      clearTimeout(timer)
      resolve(code)
    })
  })
}
