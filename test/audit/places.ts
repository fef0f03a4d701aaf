import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { verifyConsistency } from '../../src/audit/merkle.ts'
import { openCheckpoint, parseVkey } from '../../src/audit/note.ts'
import type { Place } from '../../src/audit/places/place.ts'
import type { OutsidePoint } from '../../src/audit/verify-outside.ts'

export interface Sent {
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** Something that takes posts, and answers as it is told. */
export async function listener(answer: (sent: Sent) => { status: number; type?: string; text?: string }) {
  const sent: Sent[] = []
  const server = createServer((request, response) => {
    let body = ''
    request
      .setEncoding('utf8')
      .on('data', text => (body += text))
      .on('end', () => {
        const got = { headers: request.headers, body }
        sent.push(got)
        const { status, type = 'text/plain', text = '' } = answer(got)
        response.writeHead(status, { 'content-type': type }).end(text)
      })
  })
  await listen(server)
  return {
    sent,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

const listen = (server: Server) => new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))

/**
 * A witness as https://c2sp.org/tlog-witness describes it, for one log. The real one that we are tried against is
 * litewitness (`npm run conformance -- witness`); this one starts at once.
 */
export async function witness(vkey: string, name = 'witness.example/w') {
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 21)]),
    format: 'der',
    type: 'pkcs8',
  })
  const state = { size: 0, root: Buffer.alloc(0) as Uint8Array, vkey }
  const http = await listener(({ body }) => {
    const [head = '', ...rest] = body.split('\n\n')
    const note = rest.join('\n\n')
    const [old = '', ...proof] = head.split('\n')
    const checkpoint = openCheckpoint(note, parseVkey(state.vkey))
    if (!checkpoint) return { status: 403 }
    const from = Number(/^old (\d+)$/.exec(old)?.[1])
    if (from !== state.size) return { status: 409, type: 'text/x.tlog.size', text: `${state.size}\n` }
    const path = proof.map(hash => Buffer.from(hash, 'base64'))
    if (from > 0 && !verifyConsistency(from, state.root, checkpoint.size, checkpoint.root, path)) return { status: 422 }
    state.size = checkpoint.size
    state.root = checkpoint.root
    return { status: 200, text: cosign(name, key, note.slice(0, note.lastIndexOf('\n\n') + 1), 1_795_000_000) }
  })
  return { ...http, state, vkey: witnessKey(name, key) }
}

/** A place that holds what it was given last, as a repository or a bucket does. */
export function heldPlace(name: string): Place {
  let held: OutsidePoint | null = null
  return {
    name,
    kind: 'git',
    every_ms: 0,
    latest: async () => held,
    publish: async ({ note, statements }) => {
      held = { place: name, note, statements: [...statements] }
      return undefined
    },
  }
}

/** A place that holds what it is told to hold. */
export function copyOf(note: () => string, name = 'mirror'): Place {
  const latest = async () => ({ place: name, note: note(), statements: [] })
  return { name, kind: 'git', every_ms: 0, latest, publish: async () => undefined }
}

const raw = (key: KeyObject) => Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x!, 'base64url')
const idOf = (name: string, key: KeyObject) =>
  createHash('sha256').update(`${name}\n`).update(Buffer.of(4)).update(raw(key)).digest().subarray(0, 4)

export function witnessKey(name: string, key: KeyObject): string {
  return `${name}+${idOf(name, key).toString('hex')}+${Buffer.concat([Buffer.of(4), raw(key)]).toString('base64')}`
}

/** The line of a cosignature/v1. */
export function cosign(name: string, key: KeyObject, text: string, at_s: number): string {
  const time = Buffer.alloc(8)
  time.writeBigUInt64BE(BigInt(at_s))
  const signature = sign(null, Buffer.from(`cosignature/v1\ntime ${at_s}\n${text}`), key)
  return `— ${name} ${Buffer.concat([idOf(name, key), time, signature]).toString('base64')}\n`
}
