import type { KeyObject } from 'node:crypto'
import ssh2 from 'ssh2'
import { inner, send } from '../../../src/protocols/ssh/inside.ts'
import { field, u8 } from '../../../src/protocols/ssh/wire/fields.ts'
import { type Forgery, forge, keyFiles } from './kit.ts'
import type { Issued } from './world.ts'

/** What a client shows as its key, and how it signs. */
export interface Proof {
  readonly algorithm: string
  readonly blob: Buffer
  /** Of the bytes that are to be signed, the signature as it goes over the wire. */
  readonly sign: (data: Buffer) => Buffer
}

interface ParsedKey {
  getPublicSSH(): Buffer
  sign(data: Buffer): Buffer
}

const carrier = keyFiles().private

/** The key that a ticket's holder has. */
export function keyOf(issued: Issued): { readonly blob: Buffer; readonly sign: (data: Buffer) => Buffer } {
  const key = ssh2.utils.parseKey(issued.prepared!.reveal()) as unknown as ParsedKey
  return {
    blob: key.getPublicSSH(),
    sign: data => Buffer.concat([field('ssh-ed25519'), field(key.sign(data))]),
  }
}

/** A certificate over the ticket's key, as nobody would issue it, shown with a right signature. */
export function certified(issued: Issued, ca: KeyObject, with_: Forgery = {}): Proof {
  const { blob, sign } = keyOf(issued)
  const now = BigInt(Math.floor(Date.now() / 1000))
  const terms = { key_id: issued.id, principals: [issued.id], valid_after_s: now - 60n, valid_before_s: now + 60n }
  return { algorithm: 'ssh-ed25519-cert-v01@openssh.com', blob: forge(blob, ca, { ...terms, ...with_ }), sign }
}

/** Shows one proof and runs a command. @returns what it said, or why it came to nothing. */
export function shows(port: number, username: string, { algorithm, blob, sign }: Proof): Promise<string> {
  const client = new ssh2.Client()
  let tried = false
  return new Promise<string>(resolve => {
    client.on('error', error => resolve(error.message)).on('close', () => resolve('closed'))
    client.on('ready', () =>
      client.exec('echo in', (error, channel) => {
        if (error) return resolve(error.message)
        channel.on('data', (chunk: Buffer) => resolve(chunk.toString()))
      }),
    )
    client.connect({
      host: '127.0.0.1',
      port,
      username,
      hostVerifier: () => true,
      authHandler: (_left, _partial, next) => {
        if (tried) return next(false as never)
        tried = true
        next({ type: 'publickey', username, key: carrier })
      },
    })
    const protocol = inner(client)._protocol
    protocol.authPK = () => {
      const asked = [u8(50), field(username), field('ssh-connection'), field('publickey'), u8(1), field(algorithm)]
      const request = Buffer.concat([...asked, field(blob)])
      const signature = sign(Buffer.concat([field(protocol._kex!.sessionID), request]))
      protocol._authsQueue.push('publickey')
      send(protocol, Buffer.concat([request, field(signature)]))
    }
  }).finally(() => client.destroy())
}
