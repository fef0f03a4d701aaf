import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import type { Secret } from '../secret.ts'

/**
 * What PostgreSQL stores for a SCRAM-SHA-256 password (RFC 5803 fields in PostgreSQL's form). Sent instead of the
 * password, so that neither a statement log nor `pg_stat_statements` ever holds it. The password must be ASCII (no SASLprep here).
 */
export function scramVerifier(password: Secret, salt: Buffer = randomBytes(16), iterations = 4096): string {
  const text = password.reveal()
  if (!/^[\x20-\x7e]+$/.test(text)) throw new TypeError('a database password must be printable ASCII')
  const salted = pbkdf2Sync(text, salt, iterations, 32, 'sha256')
  const key = (name: string) => createHmac('sha256', salted).update(name).digest()
  const stored = createHash('sha256').update(key('Client Key')).digest('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${key('Server Key').toString('base64')}`
}
