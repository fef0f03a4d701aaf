import { generateKeyPairSync } from 'node:crypto'
import type { KeyPair, Keys } from '../../gateway/protocol.ts'
import { Secret } from '../../secret.ts'
import { publicKeyBlob, publicKeyLine } from './wire/public-key.ts'

/** Control's: signs the certificates that tickets come with. */
export const userCa = 'user-ca'
/** The gateway's: what it shows to clients, the same on every worker and replica. */
export const hostKey = 'host'
/** The gateway's: signs the certificates that it shows to targets. */
export const targetCa = 'target-ca'

export function publicBlob(pair: KeyPair): Buffer {
  return publicKeyBlob(pair.publicKey)
}

/** A key of one credential: it stays in memory. */
export function freshKey(): Secret {
  const { privateKey } = generateKeyPairSync('ed25519')
  return new Secret(privateKey.export({ format: 'pem', type: 'pkcs8' }).toString())
}

/** What every gateway publishes: its host key, for known_hosts, and the CA that targets must trust. */
export function publish(keys: Keys): { host_key: string; target_ca: string } {
  return {
    host_key: publicKeyLine(publicBlob(keys(hostKey))),
    target_ca: publicKeyLine(publicBlob(keys(targetCa)), 'sallyport target CA'),
  }
}
