import type { ResponseFields } from './contract.ts'

/** Kept in an ErrorResponse or NoticeResponse: severity, SQLSTATE, and where in the server's source it was raised. */
const kept: ReadonlySet<string> = new Set(['S', 'V', 'C', 'F', 'L', 'R', 'P', 'p'])

/** Codes whose message names only objects, never values, and is what a person needs to go on. */
const harmless: ReadonlySet<string> = new Set([
  '42601', // syntax error
  '42P01', // undefined table
  '42703', // undefined column
  '42501', // insufficient privilege
  '25001',
  '25P01',
  '25P02', // transaction state
  '25006', // read-only transaction
  '40001',
  '40P01', // serialization failure, deadlock
  '55P03', // lock not available
  '57014', // query cancelled
  '57P01',
  '57P02',
  '57P03', // shut down
  '53300', // too many connections
  '08P01', // protocol violation
])

/**
 * On a database with masked columns the texts of errors and notices may carry values (a failed cast, a key in DETAIL,
 * RAISE). They are replaced; severity and SQLSTATE stay, so that drivers act as before.
 */
export function scrubResponse(fields: ResponseFields): ResponseFields {
  const code = fields.get('C') ?? 'XX000'
  const plain = harmless.has(code) && fields.get('W') === undefined && fields.get('q') === undefined
  const scrubbed = new Map<string, string>()
  // names of objects help drivers, but RAISE may set them to anything, and then there is a context
  const named = fields.get('W') === undefined
  for (const [field, value] of fields)
    if (kept.has(field) || (named && 'stcdn'.includes(field))) scrubbed.set(field, value)
  if (!scrubbed.has('C')) scrubbed.set('C', code)
  scrubbed.set(
    'M',
    plain
      ? (fields.get('M') ?? '')
      : `${titles[code] ?? 'the message'} (its text is withheld: columns of this database are masked)`,
  )
  return scrubbed
}

const titles: Readonly<Record<string, string>> = {
  '22P02': 'invalid text for the type',
  '22007': 'invalid date or time',
  '22008': 'date or time out of range',
  '22003': 'number out of range',
  '22001': 'text too long for the type',
  '22012': 'division by zero',
  '23502': 'a not-null constraint was violated',
  '23503': 'a foreign key was violated',
  '23505': 'a unique key was violated',
  '23514': 'a check constraint was violated',
  '23P01': 'an exclusion constraint was violated',
  '42883': 'no such function or operator',
  '42804': 'the types do not fit',
  '42P07': 'the relation exists already',
}
