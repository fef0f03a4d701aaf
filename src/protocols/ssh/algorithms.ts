import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import ssh2 from 'ssh2'
import { inner, KexInit, messages, send } from './inside.ts'
import { FieldReader, field, u8 } from './wire/fields.ts'
import { privateKeyFile } from './wire/private-key.ts'
import { parsePublicKey } from './wire/public-key.ts'

/**
 * What both legs negotiate: no SHA-1, no DSA, no compression before or after authentication, no CBC and no
 * chacha20-poly1305. Without the last two there is no cipher that Terrapin (CVE-2023-48795) can use, whether or not the
 * peer has strict key exchange.
 */
const fast = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'] as const
const both = {
  kex: [
    'curve25519-sha256',
    'curve25519-sha256@libssh.org',
    'ecdh-sha2-nistp256',
    'ecdh-sha2-nistp384',
    'ecdh-sha2-nistp521',
    'diffie-hellman-group16-sha512',
    'diffie-hellman-group14-sha256',
  ],
  cipher: [...fast, 'aes256-ctr', 'aes192-ctr', 'aes128-ctr'],
  hmac: ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com', 'hmac-sha2-256', 'hmac-sha2-512'],
  compress: ['none'],
} satisfies ssh2.Algorithms

export const towardsClients: ssh2.Algorithms = { ...both, serverHostKey: ['ssh-ed25519'] }

const direction = { cipher: [...fast], mac: both.hmac, compress: both.compress, lang: [] }
const fastOffer = new KexInit({
  kex: [...both.kex, 'kex-strict-s-v00@openssh.com'],
  serverHostKey: ['ssh-ed25519'],
  cs: direction,
  sc: direction,
})

/**
 * Offers GCM alone to OpenSSH's clients, which all have it and would choose the slower CTR. Call it in the server's
 * `connection` event, with the software that the client named there; the offer leaves right after.
 */
export function preferFastCiphers(connection: ssh2.Connection, software: string): void {
  if (/^OpenSSH_(?:[7-9]|\d{2})/.test(software)) inner(connection)._protocol._offer = fastOffer
}

/** Only algorithms of the pinned keys: the target then shows one of those, or there is no connection. */
export function towardsTarget(hostKeys: readonly Buffer[]): ssh2.Algorithms {
  const names = hostKeys.flatMap((blob): ssh2.ServerHostKeyAlgorithm[] => {
    const { type } = parsePublicKey(blob)
    if (type === 'ssh-rsa') return ['rsa-sha2-512', 'rsa-sha2-256']
    return type.startsWith('sk-') ? [] : [type as ssh2.ServerHostKeyAlgorithm]
  })
  if (names.length === 0) throw new Error('no host key is pinned that ssh2 can compare')
  return { ...both, serverHostKey: [...new Set(names)] }
}

/**
 * A verifier of the target's host key for `Client.connect`: byte for byte one of the pinned keys, no trust on first use
 * (SS9). `told` hears of a key that is none of them.
 */
export function pinnedHost(hostKeys: readonly Buffer[], told: (offered: Buffer) => void): (key: Buffer) => boolean {
  return offered => {
    if (hostKeys.some(key => key.equals(offered))) return true
    told(offered)
    return false
  }
}

export interface CertificateProof {
  readonly user: string
  /** An Ed25519 user certificate, as `signUserCertificate` gives it. */
  readonly certificate: Buffer
  readonly private_key: KeyObject
}

/** Pass `handler` to `connect` as `authHandler`, and call `install` right after `connect`. */
export interface OwnAuth {
  readonly handler: ssh2.AuthHandlerMiddleware
  readonly install: (client: ssh2.Client) => void
}

/**
 * Authentication by certificate, which ssh2's client cannot do: it writes one name both as the algorithm and inside the
 * signature, and sshd wants the plain name inside (RFC 4252 §7, OpenSSH PROTOCOL.certkeys).
 */
export function certificateAuth({ user, certificate, private_key }: CertificateProof): OwnAuth {
  return ownAuth(user, new FieldReader(certificate).text(), certificate, 'ssh-ed25519', data =>
    sign(null, data, private_key),
  )
}

/**
 * Authentication by an RSA key, which ssh2's client would sign for with SHA-1 where the target says nothing of its
 * algorithms: here it is SHA-512, or there is no login. Undefined for keys of other kinds. @throws for what is no key.
 */
export function rsaAuth(user: string, pem: string): OwnAuth | undefined {
  const key = ssh2.utils.parseKey(pem)
  if (key instanceof Error) throw new Error('the stored secret is no private key that can be read')
  if (key.type !== 'ssh-rsa') return undefined
  const signed = (data: Buffer) => {
    const signature = (key as unknown as { sign(data: Buffer, hash: string): Buffer | Error }).sign(data, 'sha512')
    if (!Buffer.isBuffer(signature)) throw new Error('the stored key cannot sign')
    return signature
  }
  return ownAuth(user, 'rsa-sha2-512', key.getPublicSSH(), 'rsa-sha2-512', signed)
}

function ownAuth(
  user: string,
  algorithm: string,
  shown: Buffer,
  inside: string,
  signed: (data: Buffer) => Buffer,
): OwnAuth {
  let tried = false
  const handler: ssh2.AuthHandlerMiddleware = (_methods, _partial, next) => {
    if (tried) return next(false as never) // no other method
    tried = true
    next({ type: 'publickey', username: user, key: carrier() })
  }
  const install = (client: ssh2.Client) => {
    const protocol = inner(client)._protocol
    let sent = false
    protocol.authPK = () => {
      if (sent) return
      sent = true
      const request = Buffer.concat([
        u8(messages.USERAUTH_REQUEST),
        field(user),
        field('ssh-connection'),
        field('publickey'),
        u8(1),
        field(algorithm),
        field(shown),
      ])
      const signature = signed(Buffer.concat([field(protocol._kex!.sessionID), request]))
      protocol._authsQueue.push('publickey')
      send(protocol, Buffer.concat([request, field(Buffer.concat([field(inside), field(signature)]))]))
    }
  }
  return { handler, install }
}

let carried: string | undefined

/** ssh2 demands a private key before it asks `authPK`; this one opens nothing. Of ssh2's own making, one in 256 lacks a byte. */
function carrier(): string {
  carried ??= privateKeyFile(generateKeyPairSync('ed25519').privateKey).reveal()
  return carried
}
