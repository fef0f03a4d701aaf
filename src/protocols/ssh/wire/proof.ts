import { createHash, verify } from 'node:crypto'
import { type Certificate, isCertificateName, parseCertificate, plainName } from './certificate.ts'
import { field } from './fields.ts'
import { type KeyType, parsePublicKey } from './public-key.ts'
import { keyTypeOf, verifySignature } from './signature.ts'

/** A publickey request as ssh2's server gives it (`AuthContext` of the method `publickey`). */
export interface KeyRequest {
  readonly key: { readonly algo: string; readonly data: Buffer }
  readonly hashAlgo?: string | undefined
  readonly signature?: Buffer | undefined
  readonly blob?: Buffer | undefined
}

/**
 * A key that a client shows. `proved`: it signed this session; otherwise the client only asks whether the key would do.
 * INVARIANT: rights come from the proof in hand, never from a key that was asked about before (SS2, CVE-2024-45337).
 */
export interface ShownKey {
  readonly proved: boolean
  readonly public_key_blob: Buffer
  /** SHA-256 of the plain key's blob, in hex: what a ticket's row keeps. */
  readonly sha256: string
  readonly certificate: Certificate | null
}

/** The key of a request; undefined for what is not taken, a wrong signature among it. Never throws. */
export function shownKey(request: KeyRequest): ShownKey | undefined {
  try {
    const algorithm = algorithmOf(request)
    if (algorithm === undefined) return undefined
    const certificate = isCertificateName(request.key.algo) ? parseCertificate(request.key.data) : null
    const public_key_blob = certificate?.public_key_blob ?? request.key.data
    const type: KeyType = certificate?.key_type ?? parsePublicKey(public_key_blob).type
    if (keyTypeOf(algorithm) !== type) return undefined
    const sha256 = createHash('sha256').update(public_key_blob).digest('hex')
    const shown = { public_key_blob, sha256, certificate }
    if (request.signature === undefined) return { ...shown, proved: false }
    if (request.blob === undefined) return undefined
    const right = certificate === null ? verifyPlain : verifySignature
    return right(public_key_blob, algorithm, request.blob, request.signature) ? { ...shown, proved: true } : undefined
  } catch {
    return undefined
  }
}

/** ssh2 says `ssh-rsa` and a hash where the client said `rsa-sha2-…`; SHA-1 is `ssh-rsa` without one. */
function algorithmOf({ key, hashAlgo }: KeyRequest): string | undefined {
  if (isCertificateName(key.algo)) return plainName(key.algo)
  if (key.algo !== 'ssh-rsa') return key.algo
  return hashAlgo === 'sha256' ? 'rsa-sha2-256' : hashAlgo === 'sha512' ? 'rsa-sha2-512' : undefined
}

/** For plain keys ssh2 takes the wrapping off, and writes ECDSA's numbers as DER. */
function verifyPlain(blob: Buffer, algorithm: string, data: Buffer, signature: Buffer): boolean {
  const { key, type } = parsePublicKey(blob)
  if (!type.startsWith('ecdsa-')) {
    const value = type.startsWith('sk-') ? signature.subarray(0, -5) : signature
    const wrapped = [field(algorithm), field(value), signature.subarray(value.length)]
    return verifySignature(blob, algorithm, data, Buffer.concat(wrapped))
  }
  const hash = { 'ecdsa-sha2-nistp256': 'sha256', 'ecdsa-sha2-nistp384': 'sha384' }[algorithm] ?? 'sha512'
  return verify(hash, data, key, signature) === true
}
