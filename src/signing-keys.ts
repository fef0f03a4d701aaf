import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { SallyportError } from './errors.ts'
import { deriveSeed, type RootKey } from './keys.ts'

/** What control signs, each with a key of its own: revisions, checkpoints of the audit log, calls to the replay process. */
export type SigningPurpose = 'bundle-signing' | 'checkpoints' | 'replay-calls'

interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')

/** Control's Ed25519 key pair for one purpose, derived from its root: the same after every start. */
export function signingKeys(root: RootKey, purpose: SigningPurpose): KeyPair {
  return keyPair(deriveSeed(root, purpose))
}

/** The keys that checkpoints were and may be signed with: the first that derives from a root, and its successors. */
export const maxCheckpointKeys = 256

/** Control's n-th checkpoint key: 1 is `signingKeys(root, 'checkpoints')`. No other purpose has a dot in it. */
export function checkpointKeys(root: RootKey, number: number): KeyPair {
  return number === 1 ? signingKeys(root, 'checkpoints') : keyPair(deriveSeed(root, `checkpoints.${number}`))
}

function keyPair(seed: Buffer): KeyPair {
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: 'der', type: 'pkcs8' })
  seed.fill(0)
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

/** A protocol's key pair for one purpose, from the root of control or of the gateway. No name of ours has a slash in it. */
export function protocolKeys(root: RootKey, protocol: string, purpose: string): KeyPair {
  return keyPair(deriveSeed(root, `${protocol}/${purpose}`))
}

/** The text form of a public key in configuration: `ed25519:` and 32 bytes in base64url. */
export function publicKeyText(key: KeyObject): string {
  return 'ed25519:' + key.export({ format: 'der', type: 'spki' }).subarray(spkiPrefix.length).toString('base64url')
}

/** @throws SallyportError `bad_config` for anything that is not exactly such a text. */
export function parsePublicKey(text: string): KeyObject {
  const match = /^ed25519:([\w-]{43})$/.exec(text)
  if (match === null)
    throw new SallyportError('bad_config', 'a public key is written as `ed25519:` and 43 characters of base64url')
  return createPublicKey({
    key: Buffer.concat([spkiPrefix, Buffer.from(match[1]!, 'base64url')]),
    format: 'der',
    type: 'spki',
  })
}
