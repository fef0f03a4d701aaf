import { createHash, timingSafeEqual } from 'node:crypto'
import { Type as T } from 'typebox'
import { SallyportError } from '../../errors.ts'
import type { Keys, PublicFacts, TicketTerms } from '../../gateway/protocol.ts'
import type { Secret } from '../../secret.ts'
import { publicBlob, userCa } from './keys.ts'
import { certificateSigner, signUserCertificate } from './wire/certificate.ts'
import { parsePublicKeyLine, publicKeyLine } from './wire/public-key.ts'

/** A fresh public key, one line. */
export const Offer = T.Object({ public_key: T.String({ maxLength: 1024 }) }, { additionalProperties: false })

/** The certificate is good from a little before: clocks differ. */
const earlier_s = 60

/**
 * Three proofs of one ticket: its key, a certificate over that key by control's CA, and its secret as a password. The
 * row keeps hashes only, and names the CA, so that a gateway needs no other word on which to trust.
 */
export function verifiers(secret: Secret, offer: PublicFacts, keys: Keys): Record<string, string> {
  const password = sha256(secret.reveal()).toString('base64')
  const blob = offeredKey(offer)
  if (blob === undefined) return { password }
  return {
    password,
    key: sha256(blob).toString('base64'),
    ca: publicBlob(keys(userCa)).toString('base64'),
  }
}

/** The certificate over the offered key: one principal and key id, the ticket's; from where policy admits it. */
export function credential(ticket: TicketTerms, offer: PublicFacts, keys: Keys): PublicFacts {
  const blob = offeredKey(offer)
  if (blob === undefined) return {}
  const now_s = Math.floor(ticket.now_ms / 1000)
  const certificate = signUserCertificate(
    {
      public_key_blob: blob,
      key_id: ticket.id,
      principal: ticket.id,
      serial: BigInt(ticket.now_ms),
      valid_after_s: now_s - earlier_s,
      valid_before_s: Math.ceil(ticket.ends_at_ms / 1000),
      ...(everywhere(ticket.from) ? {} : { source_address: ticket.from }),
      extensions: ['permit-pty'],
    },
    certificateSigner(keys(userCa).privateKey),
  )
  return { certificate: publicKeyLine(certificate, ticket.id) }
}

/** Constant in time: whether what a client showed is what a row keeps the hash of. */
export function proves(verifier: string | undefined, shown: Buffer | string, pretence: Buffer): boolean {
  const kept = verifier === undefined ? pretence : Buffer.from(verifier, 'base64')
  return kept.length === 32 && timingSafeEqual(sha256(shown), kept) && verifier !== undefined
}

function offeredKey(offer: PublicFacts): Buffer | undefined {
  const line = offer['public_key']
  if (line === undefined) return undefined
  try {
    if (line.startsWith('ssh-ed25519 ')) return parsePublicKeyLine(line).blob
  } catch {}
  throw new SallyportError('bad_request', 'the offered public key is no Ed25519 key in one line')
}

function everywhere(from: readonly string[]): boolean {
  return from.includes('0.0.0.0/0') && from.includes('::/0')
}

function sha256(value: Buffer | string): Buffer {
  return createHash('sha256').update(value).digest()
}
