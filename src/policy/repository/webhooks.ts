import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { Secret } from '../../secret.ts'

/** The senders that are known, by the name in the address; each has a secret of its own, or is not listened to. */
export type WebhookSecrets = Readonly<Partial<Record<WebhookSender, Secret>>>
export type WebhookSender = keyof typeof senders

/** A header of the request, where it came once. */
type Header = (name: string) => string | undefined

interface Request {
  readonly header: Header
  /** The bytes as they came: signatures are over these. */
  readonly body: Uint8Array
  readonly now_ms: number
}

const window_s = 300
const standardPrefix = 'whsec_'

const senders = {
  github: fromGithub,
  gitlab: fromGitlab,
  hmac: fromAnybody,
} as const

export function isWebhookSender(name: string): name is WebhookSender {
  return Object.hasOwn(senders, name)
}

/**
 * Whether a request was made by who knows the sender's secret. Nothing of its content is believed: it only makes us look
 * at the repository ourselves, so that a replay costs one more look.
 */
export function verifyWebhook(sender: WebhookSender, secrets: WebhookSecrets, request: Request): boolean {
  const secret = secrets[sender]
  return secret !== undefined && senders[sender](secret, request) === true
}

/** https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries */
function fromGithub(secret: Secret, { header, body }: Request): boolean {
  const given = /^sha256=([0-9a-f]{64})$/.exec(header('x-hub-signature-256') ?? '')?.[1]
  return given !== undefined && same(Buffer.from(given, 'hex'), hmac(Buffer.from(secret.reveal()), body))
}

/**
 * GitLab's secret token comes as it is; its signing token (`whsec_…`) signs as Standard Webhooks does. INVARIANT: where we
 * hold a signing token, the plain header opens nothing.
 */
function fromGitlab(secret: Secret, request: Request): boolean {
  if (secret.reveal().startsWith(standardPrefix)) return isStandard(secret.reveal(), request)
  const given = request.header('x-gitlab-token')
  return given !== undefined && secret.equals(given)
}

/** https://www.standardwebhooks.com: base64 HMAC-SHA256 over `id.timestamp.body`, one or several, each with its version. */
function isStandard(secret: string, { header, body, now_ms }: Request): boolean {
  const [id, timestamp] = [header('webhook-id'), header('webhook-timestamp')]
  if (id === undefined || id.length > 256 || !isRecent(timestamp, now_ms)) return false
  const key = Buffer.from(secret.slice(standardPrefix.length), 'base64')
  if (key.length < 24) return false
  const wanted = hmac(key, `${id}.${timestamp}.`, body)
  const given = (header('webhook-signature') ?? '').slice(0, 1024).split(' ')
  return given.some(one => /^v1,[A-Za-z0-9+/]{43}=$/.test(one) && same(Buffer.from(one.slice(3), 'base64'), wanted))
}

/** For everything else that can push: hex HMAC-SHA256 over `timestamp.body`, seconds since 1970. */
function fromAnybody(secret: Secret, { header, body, now_ms }: Request): boolean {
  const timestamp = header('x-sallyport-timestamp')
  const given = /^sha256=([0-9a-f]{64})$/.exec(header('x-sallyport-signature') ?? '')?.[1]
  if (given === undefined || !isRecent(timestamp, now_ms)) return false
  return same(Buffer.from(given, 'hex'), hmac(Buffer.from(secret.reveal()), `${timestamp}.`, body))
}

function isRecent(timestamp: string | undefined, now_ms: number): timestamp is string {
  return (
    timestamp !== undefined &&
    /^[0-9]{1,12}$/.test(timestamp) &&
    Math.abs(now_ms / 1000 - Number(timestamp)) <= window_s
  )
}

function hmac(key: Uint8Array, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const mac = createHmac('sha256', key)
  for (const part of parts) mac.update(part)
  return mac.digest()
}

/** In constant time for what is as long as it should be, and for what is not. */
function same(given: Uint8Array, wanted: Uint8Array): boolean {
  const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()
  return timingSafeEqual(hash(given), hash(wanted)) === true
}
