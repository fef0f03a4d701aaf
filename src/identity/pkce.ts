import { createHash } from 'node:crypto'

/** What the command line and the server both compute. This file imports nothing of the server, so that the command starts fast. */

const alphabet = '23456789ABCDEFGHJKMNPQRSTVWXYZ'

/** The words that page and terminal both show for one challenge, so that a person can tell theirs from another's. */
export function confirmationText(challenge: string): string {
  const hash = createHash('sha256').update(`cli-confirm\0${challenge}`).digest()
  const text = Array.from(hash.subarray(0, 8), byte => alphabet[byte % alphabet.length]).join('')
  return `${text.slice(0, 4)}-${text.slice(4)}`
}

/** S256 of RFC 7636. */
export function challengeOf(verifier: string): string {
  return createHash('sha256').update(verifier, 'ascii').digest('base64url')
}

/** Whether text can be a verifier (RFC 7636 §4.1). */
export function isVerifier(text: string): boolean {
  return /^[A-Za-z0-9._~-]{43,128}$/.test(text)
}
