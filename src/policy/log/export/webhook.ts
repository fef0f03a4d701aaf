import { createHmac } from 'node:crypto'
import type { Secret } from '../../../secret.ts'
import { post } from './http.ts'
import { fitting, type Sink } from './sink.ts'

export interface WebhookOptions {
  readonly name: string
  readonly url: string
  /** Signs what is sent. */
  readonly secret: Secret | undefined
  readonly max_bytes: number
  readonly now: () => number
}

/**
 * `POST {url}` with `{"type": "decisions", "first": place, "events": […]}`. `X-Sallyport-Signature: t=MS,v1=HEX` is the
 * HMAC-SHA-256 of `MS.BODY`, so that the receiver can tell ours from others', and an old one from a new one.
 */
export function webhookSink({ name, url, secret, max_bytes, now }: WebhookOptions): Sink {
  return {
    name,
    async send(decisions, signal) {
      const taken = fitting(decisions, max_bytes)
      const events = decisions
        .slice(0, taken)
        .map(each => each.line)
        .join(',')
      const body = Buffer.from(`{"type":"decisions","first":${decisions[0]!.seq},"events":[${events}]}`)
      await post(url, body, { 'content-type': 'application/json', ...signature(secret, now(), body) }, signal)
      return taken
    },
  }
}

function signature(secret: Secret | undefined, at_ms: number, body: Buffer): Record<string, string> {
  if (secret === undefined) return {}
  const mac = createHmac('sha256', secret.reveal()).update(`${at_ms}.`).update(body).digest('hex')
  return { 'x-sallyport-signature': `t=${at_ms},v1=${mac}` }
}
