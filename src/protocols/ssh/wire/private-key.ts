import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto'
import { Secret } from '../../../secret.ts'
import { field, u32 } from './fields.ts'
import { publicKeyBlob } from './public-key.ts'

/** An Ed25519 private key as OpenSSH keeps it in a file (PROTOCOL.key), without a passphrase. */
export function privateKeyFile(key: KeyObject): Secret {
  const { d } = key.export({ format: 'jwk' })
  if (key.asymmetricKeyType !== 'ed25519' || d === undefined)
    throw new TypeError('only Ed25519 private keys are written')
  const blob = publicKeyBlob(createPublicKey(key))
  const point = blob.subarray(-32)
  const check = randomBytes(4)
  const inner = Buffer.concat([
    check,
    check,
    blob,
    field(Buffer.concat([Buffer.from(d, 'base64url'), point])),
    field(''),
  ])
  const padding = Buffer.from(Array.from({ length: (8 - (inner.length % 8)) % 8 }, (_, i) => i + 1))
  const bytes = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    field('none'),
    field('none'),
    field(''),
    u32(1),
    field(blob),
    field(Buffer.concat([inner, padding])),
  ])
  const lines = bytes.toString('base64').match(/.{1,70}/g)!
  return new Secret(`-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`)
}
