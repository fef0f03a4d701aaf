import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Secret } from '../../../secret.ts'
import { bearer, post } from './http.ts'
import { fitting, type Placed, type Sink } from './sink.ts'

const compress = promisify(gzip)

export interface OpaOptions {
  readonly name: string
  /** Of the service: decisions go to `{url}/logs`. */
  readonly url: string
  readonly token: Secret | undefined
  /** Of one upload, compressed. */
  readonly max_bytes: number
}

/** OPA's decision-log service API: `POST {url}/logs` with a gzipped JSON array of events, bounded in bytes. */
export function opaSink({ name, url, token, max_bytes }: OpaOptions): Sink {
  const endpoint = `${url.replace(/\/+$/, '')}/logs`
  return {
    name,
    async send(decisions, signal) {
      const { body, taken } = await chunk(decisions, max_bytes)
      const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip', ...bearer(token) }
      await post(endpoint, body, headers, signal)
      return taken
    },
  }
}

/** As many as fit when compressed: guessed by what text of this kind shrinks to, halved until it is true. */
async function chunk(decisions: readonly Placed[], max_bytes: number): Promise<{ body: Buffer; taken: number }> {
  for (let taken = fitting(decisions, max_bytes * 6); ; taken = Math.ceil(taken / 2)) {
    const text = `[${decisions
      .slice(0, taken)
      .map(each => each.line)
      .join(',')}]`
    const body = await compress(text)
    if (body.length <= max_bytes || taken === 1) return { body, taken }
  }
}
