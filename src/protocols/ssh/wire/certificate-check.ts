import { isFrom } from '../../../sessions/from.ts'
import { type Certificate, isPlainPrincipal } from './certificate.ts'

export interface UserCertificateTerms {
  /** Blobs of the authorities that are trusted here. */
  readonly cas: readonly Buffer[]
  /** The one name that the certificate must be for. */
  readonly principal: string
  /** The peer's address as the socket gives it. */
  readonly address: string
  readonly now_s: number
  readonly revoked?: (certificate: Certificate) => boolean
}

/**
 * Why a certificate proves nothing here; undefined when it does. Say the answer to the log, and less to the client. It
 * says nothing about who holds the key: the signature over the session does.
 */
export function checkUserCertificate(certificate: Certificate, terms: UserCertificateTerms): string | undefined {
  const now = BigInt(Math.floor(terms.now_s))
  if (certificate.kind !== 'user') return 'it is a certificate of a host'
  if (!terms.cas.some(ca => ca.equals(certificate.ca_blob))) return 'its authority is not trusted here'
  if (now < certificate.valid_after_s) return 'it is not valid yet'
  if (now >= certificate.valid_before_s) return 'it has expired'
  if (certificate.principals.length === 0) return 'it names nobody'
  if (!certificate.principals.every(isPlainPrincipal)) return 'it names somebody by a list or a pattern'
  if (!certificate.principals.includes(terms.principal)) return 'it is for somebody else'
  for (const { name, data } of certificate.critical) {
    if (name !== 'source-address') return `it demands ${name}, which is not carried out here`
    if (!isFrom(data.split(','), terms.address)) return 'it is for another address'
  }
  if (terms.revoked?.(certificate) === true) return 'it is revoked'
  return undefined
}

/** Whether the certificate carries this extension, such as `permit-pty`. */
export function permits(certificate: Certificate, extension: string): boolean {
  return certificate.extensions.some(({ name }) => name === extension)
}
