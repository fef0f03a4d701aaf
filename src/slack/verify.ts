import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Secret } from '../secret.ts'

const maxSkew_s = 300

export interface SignedRequest {
  readonly timestamp: string | undefined
  readonly signature: string | undefined
  /** The bytes as they came, before any parser. */
  readonly body: Uint8Array
}

/**
 * Why a request is not Slack's, or null: https://docs.slack.dev/authentication/verifying-requests-from-slack
 * Bolt's own check knows only requests that are too old; here one from the future is refused too, and neither header can
 * take the process down.
 */
export function refusalOf(request: SignedRequest, secret: Secret, now_ms: number): string | null {
  const { timestamp, signature, body } = request
  if (timestamp === undefined || !/^\d{1,11}$/.test(timestamp)) return 'the timestamp is missing or malformed'
  if (signature === undefined || !/^v0=[0-9a-f]{64}$/.test(signature)) return 'the signature is missing or malformed'
  if (Math.abs(now_ms / 1000 - Number(timestamp)) > maxSkew_s) return 'the timestamp is more than five minutes off'
  const expected = createHmac('sha256', secret.reveal()).update(`v0:${timestamp}:`).update(body).digest()
  return timingSafeEqual(expected, Buffer.from(signature.slice(3), 'hex')) ? null : 'the signature does not fit'
}
