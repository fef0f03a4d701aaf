/** Reading of claims: pure, strict, bounded. What does not have the right shape is refused, never bent into it. */

const maxGroups = 500
const maxText = 256
const maxClaims = 32

/** Claims of the protocol itself and those that have a place of their own in the facts. */
const known = new Set([
  ...[
    'iss',
    'sub',
    'aud',
    'exp',
    'iat',
    'nbf',
    'jti',
    'nonce',
    'azp',
    'sid',
    'at_hash',
    'c_hash',
    's_hash',
    'auth_time',
  ],
  ...['name', 'preferred_username', 'email', 'email_verified'],
])

export interface Person {
  readonly subject: string
  readonly name: string
  readonly email: string | null
  readonly email_verified: 'yes' | 'no'
  readonly groups: string[]
  readonly claims: Record<string, unknown>
}

type Claims = Readonly<Record<string, unknown>>
type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly message: string }

/** The person that verified claims describe; `groups_claim` names the claim that holds the groups. */
export function readPerson(claims: Claims, groups_claim: string): Read<Person> {
  const subject = claims['sub']
  if (!isText(subject) || subject === '') return refused('the claim sub is not a text of 1 to 256 characters')
  const groups = readGroups(claims, groups_claim)
  if (!groups.ok) return groups
  const email = claims['email']
  return {
    ok: true,
    value: {
      subject,
      name: [claims['name'], claims['preferred_username'], email].find(isName) ?? subject,
      email: isName(email) ? email : null,
      email_verified: claims['email_verified'] === true ? 'yes' : 'no',
      groups: groups.value,
      claims: keptClaims(claims, groups_claim),
    },
  }
}

/** The groups, sorted and each once. A missing claim means no groups; a claim of another shape is refused. */
export function readGroups(claims: Claims, groups_claim: string): Read<string[]> {
  const value = Object.hasOwn(claims, groups_claim) ? claims[groups_claim] : []
  if (!Array.isArray(value)) return refused(`the claim ${groups_claim} is not an array`)
  if (value.length > maxGroups) return refused(`the claim ${groups_claim} holds more than ${maxGroups} groups`)
  const groups: string[] = []
  for (const group of value) {
    if (!isText(group) || group === '') {
      return refused(`the claim ${groups_claim} holds something that is not a text of 1 to ${maxText} characters`)
    }
    groups.push(group)
  }
  return { ok: true, value: [...new Set(groups)].sort() }
}

/** Claims that policy may read: texts, booleans, safe integers and short lists of texts; the rest is left out. */
function keptClaims(claims: Claims, groups_claim: string): Record<string, unknown> {
  const kept: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(claims)) {
    if (known.has(name) || name === groups_claim || !isText(name) || name === '__proto__') continue
    const fits =
      isText(value) ||
      typeof value === 'boolean' ||
      Number.isSafeInteger(value) ||
      (Array.isArray(value) && value.length <= maxClaims && value.every(isText))
    if (fits) kept[name] = value
    if (Object.keys(kept).length === maxClaims) break
  }
  return kept
}

/** INVARIANT: what passes can be stored by PostgreSQL (no NUL) and put into canonical JSON (no lone surrogate). */
function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= maxText && value.isWellFormed() && !value.includes('\0')
}

/** A text that is shown to people: one line, no control characters. */
function isName(value: unknown): value is string {
  return isText(value) && value.trim() !== '' && !/\p{C}/u.test(value)
}

function refused(message: string): { ok: false; message: string } {
  return { ok: false, message }
}
