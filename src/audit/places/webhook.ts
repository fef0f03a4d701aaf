import { createHmac } from 'node:crypto'
import type { Secret } from '../../secret.ts'
import { post } from './http.ts'
import type { Place } from './place.ts'

export interface WebhookOptions {
  readonly name: string
  readonly url: string
  readonly secret: Secret
  readonly every_ms: number
  readonly now: () => number
}

/**
 * `POST {url}` with `{"type":"checkpoint","origin","size","checkpoint","statements":[…]}`. `X-Sallyport-Signature: t=MS,v1=HEX`
 * is the HMAC-SHA-256 of `MS.BODY`; who keeps what comes needs no more than the note, which is signed by itself.
 */
export function webhookPlace({ name, url, secret, every_ms, now }: WebhookOptions): Place {
  return {
    name,
    kind: 'webhook',
    every_ms,
    async publish({ origin, size, note, statements }, signal) {
      const said = statements.map(({ kind, note }) => ({ kind, note }))
      const body = JSON.stringify({ type: 'checkpoint', origin, size, checkpoint: note, statements: said })
      const at_ms = now()
      const mac = createHmac('sha256', secret.reveal()).update(`${at_ms}.${body}`).digest('hex')
      const headers = { 'content-type': 'application/json', 'x-sallyport-signature': `t=${at_ms},v1=${mac}` }
      const { status } = await post(url, body, headers, signal)
      if (status < 200 || status > 299) throw new Error(`${new URL(url).host} answered ${status}`)
      return undefined
    },
  }
}
