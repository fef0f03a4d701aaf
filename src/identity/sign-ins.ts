import { and, eq, gt, sql } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { type DerivedKey, open, seal } from '../keys.ts'
import { signIns } from './schema.ts'
import { hashFor, isRandomText, randomText } from './secrets.ts'

/** What waits for a browser to come back: a sign-in for its callback, a code for the command line. */
export interface Waiting {
  readonly 'sign-in': {
    readonly nonce: string
    readonly verifier: string
    readonly browser: string // hex hash of the browser's cookie
    readonly issuer: string
    readonly return_to: string
  }
  readonly 'cli-code': { readonly subject_id: string; readonly challenge: string; readonly port: number }
}
export type WaitingKind = keyof Waiting

/** More than this at once is a flood, not people: the oldest sign-ins make room, so that nobody can lock the door by knocking. */
const maxWaiting = 20_000
const makeRoom = 1000
const code_s = 60 // what has longer to wait than a code of the command line is a sign-in
const use = { 'sign-in': 'state', 'cli-code': 'cli-code' } as const

/** Keeps `value`, sealed, for one use within `lifetime_s`. @returns the text that fetches it, or null when too many wait. */
export async function keepWaiting<K extends WaitingKind>(
  db: Queryable,
  key: DerivedKey,
  kind: K,
  value: Waiting[K],
  lifetime_s: number,
): Promise<string | null> {
  if (!(await hasRoom(db))) return null
  const text = randomText()
  const hash = hashFor(use[kind], text)
  await db.insert(signIns).values({
    state_hash: hash,
    sealed: seal(key, JSON.stringify(value), contextOf(kind, hash)),
    expires_at: sql`now() + make_interval(secs => ${lifetime_s})`,
  })
  return text
}

/** Expired rows go first, then the sign-ins that have waited longest; a code that somebody has just allowed stays. */
async function hasRoom(db: Queryable): Promise<boolean> {
  const [held] = await db.select({ n: sql<number>`count(*)::int` }).from(signIns)
  if (held!.n < maxWaiting) return true
  const gone = await db.execute(sql`
    delete from sign_ins where state_hash in (
      select state_hash from sign_ins where expires_at <= now() or expires_at > now() + make_interval(secs => ${code_s})
      order by expires_at limit ${makeRoom} for update skip locked) returning 1 as gone`)
  return gone.length > 0
}

/** Fetches what waits, once: the row is gone afterwards, whatever the caller then finds wrong with the value. */
export async function takeWaiting<K extends WaitingKind>(
  db: Queryable,
  key: DerivedKey,
  kind: K,
  text: string,
): Promise<Waiting[K] | null> {
  if (!isRandomText(text)) return null
  const hash = hashFor(use[kind], text)
  const [row] = await db
    .delete(signIns)
    .where(and(eq(signIns.state_hash, hash), gt(signIns.expires_at, sql`now()`)))
    .returning({ sealed: signIns.sealed })
  const plain = row === undefined ? null : open(key, row.sealed, contextOf(kind, hash))
  return plain === null ? null : (JSON.parse(plain.toString('utf8')) as Waiting[K])
}

function contextOf(kind: WaitingKind, hash: Buffer): string {
  return `${kind}:${hash.toString('hex')}`
}
