import { createPrivateKey } from 'node:crypto'
import type { Socket } from 'node:net'
import ssh2, { type AnyAuthMethod, type AuthHandlerMiddleware } from 'ssh2'
import { SallyportError } from '../../errors.ts'
import type { Minted, Target } from '../../gateway/protocol.ts'
import type { Permit } from '../../policy/permit.ts'
import { certificateAuth, pinnedHost, rsaAuth, towardsTarget } from './algorithms.ts'
import { hardenClient } from './hardening.ts'
import { targetCa } from './keys.ts'
import { type SshLimits, sshLimits } from './limits.ts'
import { type Options, pinnedKeys } from './options.ts'
import { Transport } from './transport.ts'
import { certificateSigner, signUserCertificate } from './wire/certificate.ts'
import { fingerprint, publicKeyBlob } from './wire/public-key.ts'

const never = 2 ** 31 - 1
/** A certificate is good for this long: it opens one connection, which may last. */
const certificate_s = { before: 30, after: 60 }

export interface Dialled {
  readonly client: ssh2.Client
  readonly transport: Transport
}

/** How somebody logs in on a target. */
export type Way = 'certificate' | 'key' | 'password'

/**
 * Dials, compares the host key with the pinned ones, logs in.
 * @throws SallyportError `target_unavailable` in words that name no secret.
 */
export async function dial(
  permit: Permit,
  target: Target,
  credential: Minted,
  keyId: string,
  limits: SshLimits = sshLimits,
): Promise<Dialled> {
  const { kind } = (target.resource.options as Options).auth
  const way = kind === 'login' ? 'certificate' : kind
  let transport: Transport | undefined
  const terms = { way, keyId, limits }
  const { client } = await logIn(permit, target, credential, terms, (made, socket) => {
    transport = new Transport(made, socket, limits) // before the login: what the target says right behind it waits
  })
  return { client, transport: transport! }
}

/** The same up to the login: what comes then is ssh2's. */
export async function logIn(
  permit: Permit,
  target: Target,
  credential: Minted,
  { way, keyId, limits = sshLimits }: { readonly way: Way; readonly keyId: string; readonly limits?: SshLimits },
  begun: (client: ssh2.Client, socket: Socket) => void = () => {},
) {
  const { resource } = target
  const pins = pinnedKeys(resource)
  const socket = await target.connect(permit)
  let offered: Buffer | undefined
  const client = new ssh2.Client()
  try {
    const own =
      way === 'certificate'
        ? certificateFor(permit, target, credential, keyId)
        : way === 'key'
          ? rsaAuth(credential.user, credential.secret.reveal())
          : undefined
    await ready(client, socket, limits, {
      username: credential.user,
      algorithms: towardsTarget(pins),
      hostVerifier: pinnedHost(pins, key => (offered = key)),
      authHandler: own?.handler ?? storedAuth(way, credential),
      begun: () => {
        own?.install(client)
        begun(client, socket)
      },
    })
    return { client, socket }
  } catch (error) {
    socket.destroy()
    if (offered !== undefined) throw strangeHost(resource.name, offered)
    if (error instanceof SallyportError) throw error
    throw unavailable(resource.name, whyNot(error as Error & { level?: string }, credential.user, limits))
  }
}

interface Terms {
  readonly username: string
  readonly algorithms: ssh2.Algorithms
  readonly hostVerifier: (key: Buffer) => boolean
  readonly authHandler: AuthHandlerMiddleware
  readonly begun: () => void
}

function ready(client: ssh2.Client, sock: Socket, limits: SshLimits, terms_: Terms): Promise<void> {
  const { begun, ...terms } = terms_
  return new Promise((resolve, reject) => {
    client.on('error', reject) // stays: one that comes later is the end of the socket, which is seen there
    client.once('close', () => reject(new Error('it closed the connection')))
    client.once('ready', resolve)
    // `Transport` asks by itself whether the target lives.
    const readyTimeout = limits.target_login_ms
    client.connect({ sock, ident: 'Sallyport', readyTimeout, keepaliveInterval: never, ...terms })
    hardenClient(client, sock, limits)
    begun()
  })
}

/** INVARIANT: signed for one connection, one login and one minute; it names the session, so that the target's log does. */
function certificateFor(permit: Permit, target: Target, { user, secret }: Minted, key_id: string) {
  const private_key = createPrivateKey(secret.reveal())
  const now_s = Math.floor(Date.now() / 1000)
  const certificate = signUserCertificate(
    {
      public_key_blob: publicKeyBlob(private_key),
      key_id,
      principal: user,
      serial: BigInt(Date.now()),
      valid_after_s: now_s - certificate_s.before,
      valid_before_s: now_s + certificate_s.after,
      extensions: ['permit-agent-forwarding', 'permit-port-forwarding', 'permit-pty', 'permit-X11-forwarding'],
    },
    certificateSigner(target.keys(permit, targetCa).privateKey),
  )
  return certificateAuth({ user, certificate, private_key })
}

/** Each way once. A password also answers the one hidden question that keyboard-interactive asks. */
function storedAuth(kind: string, { user, secret }: Minted): AuthHandlerMiddleware {
  const password = secret.reveal()
  const ways: AnyAuthMethod[] =
    kind === 'key'
      ? [{ type: 'publickey', username: user, key: password }]
      : [
          { type: 'password', username: user, password },
          {
            type: 'keyboard-interactive',
            username: user,
            prompt: (_name, _words, _language, prompts, finish) =>
              finish(prompts.length === 1 && prompts[0]!.echo !== true ? [password] : []),
          },
        ]
  return (_left, _partial, next) => next(ways.shift() ?? (false as never))
}

function strangeHost(name: string, key: Buffer): SallyportError {
  return new SallyportError(
    'target_unavailable',
    `${name} cannot be used: its host key ${fingerprint(key)} is none of those that policy pins`,
    { remedy: 'do not go on; if the host was set up anew, its owner puts the new key into options.host_keys' },
  )
}

function whyNot({ level, message }: Error & { level?: string }, user: string, limits: SshLimits): string {
  if (level === 'client-authentication') return `it refused the login as ${user}`
  return level === 'client-timeout' ? `it did not finish the login within ${limits.target_login_ms / 1000} s` : message
}

function unavailable(name: string, why: string): SallyportError {
  return new SallyportError('target_unavailable', `${name} cannot be used: ${why}`)
}
