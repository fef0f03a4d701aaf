import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

export interface ReceivedEvent {
  readonly decision_id: string
  readonly [member: string]: unknown
}

/**
 * A service as OPA's decision-log plugin expects one: `POST /logs`, a gzipped JSON array, a bearer token. What does not fit
 * is answered with 400 and kept as a complaint; `fail` answers the next ones with a status of its own.
 */
export async function startLogReceiver(token: string) {
  const events: ReceivedEvent[] = []
  const uploads: { bytes: number; events: number }[] = []
  const complaints: string[] = []
  const others: { url: string; headers: IncomingHttpHeaders; body: string }[] = []
  let failing: { times: number; status: number } = { times: 0, status: 500 }
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks)
      if (failing.times > 0) {
        failing = { ...failing, times: failing.times - 1 }
        response.writeHead(failing.status).end()
        return
      }
      if (request.url !== '/service/logs') {
        others.push({ url: request.url ?? '', headers: request.headers, body: body.toString('utf8') })
        response.writeHead(204).end()
        return
      }
      const wrong = complaintOf(request.method, request.headers, body)
      if (wrong !== undefined) {
        complaints.push(wrong)
        response.writeHead(400).end()
        return
      }
      const got = JSON.parse(gunzipSync(body).toString('utf8')) as ReceivedEvent[]
      events.push(...got)
      uploads.push({ bytes: body.length, events: got.length })
      response.writeHead(200).end('{}')
    })
  })
  function complaintOf(method: string | undefined, headers: IncomingHttpHeaders, body: Buffer): string | undefined {
    if (method !== 'POST') return `${method} is no POST`
    if (headers['content-encoding'] !== 'gzip') return 'the body is not gzipped'
    if (headers['content-type'] !== 'application/json') return 'the body is not said to be JSON'
    if (headers['authorization'] !== `Bearer ${token}`) return 'there is no good bearer token'
    const value: unknown = JSON.parse(gunzipSync(body).toString('utf8'))
    if (!Array.isArray(value) || value.length === 0) return 'the body is no array of events'
    for (const event of value as Record<string, unknown>[]) {
      const { labels, decision_id, path, timestamp, bundles } = event
      if (typeof decision_id !== 'string' || typeof path !== 'string') return 'decision_id or path is missing'
      if (typeof labels !== 'object' || labels === null || !('id' in labels)) return 'labels are missing'
      if (typeof timestamp !== 'string' || !(Date.parse(timestamp) > 0)) return 'timestamp is no instant'
      if (!('input' in event)) return 'input is missing'
      const revisions = Object.values((bundles ?? {}) as Record<string, { revision?: unknown }>)
      if (!revisions.every(bundle => typeof bundle.revision === 'string')) return 'a bundle has no revision'
    }
    return undefined
  }
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    events,
    uploads,
    complaints,
    others,
    fail: (times: number, status = 500) => (failing = { times, status }),
    stop: () => new Promise(resolve => server.close(resolve)),
  }
}
