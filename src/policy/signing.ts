import { type KeyObject, sign, verify } from 'node:crypto'
import { canonical } from '../canonical.ts'

/** What control's signature covers: the generation too, so that an old bundle cannot be played again as a new one. */
export interface SignedFacts {
  readonly generation: number
  readonly commit: string
  readonly digest: string
  /** Of a recovery: when it ends. */
  readonly ends_at_ms?: number | undefined
}

/** Signs a revision with control's Ed25519 key. */
export function signRevision(facts: SignedFacts, key: KeyObject): Buffer {
  return sign(null, message(facts), ed25519(key))
}

/** Whether control signed exactly these facts. Anything but a clear yes is no. */
export function verifyRevision(facts: SignedFacts, signature: Uint8Array, key: KeyObject): boolean {
  return signature.length === 64 && verify(null, message(facts), ed25519(key), signature) === true
}

/** A shadow is signed in words of its own, so that no signature of one passes for that of a revision. */
export interface ShadowFacts {
  readonly shadow: number
  readonly commit: string
  readonly digest: string
}

export function signShadow(facts: ShadowFacts, key: KeyObject): Buffer {
  return sign(null, shadowMessage(facts), ed25519(key))
}

export function verifyShadow(facts: ShadowFacts, signature: Uint8Array, key: KeyObject): boolean {
  return signature.length === 64 && verify(null, shadowMessage(facts), ed25519(key), signature) === true
}

function shadowMessage({ shadow, commit, digest }: ShadowFacts): Buffer {
  return Buffer.from(canonical({ shadow, commit, digest }))
}

function message(facts: SignedFacts): Buffer {
  const { generation, commit, digest, ends_at_ms } = facts
  return Buffer.from(canonical({ generation, commit, digest, ...(ends_at_ms === undefined ? {} : { ends_at_ms }) }))
}

function ed25519(key: KeyObject): KeyObject {
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError('revisions are signed with an Ed25519 key')
  return key
}
