import { createPublicKey } from 'node:crypto'
import { and, desc, like, lt, ne } from 'drizzle-orm'
import type { Queryable } from '../../db/database.ts'
import { SallyportError } from '../../errors.ts'
import { bundleDigest, unpackBundle } from '../bundle.ts'
import type { Candidate, NewestRevision, RevisionRow, Store } from '../revision-store.ts'
import { type RevisionKind, revisions } from '../schema.ts'
import { verifyRevision } from '../signing.ts'
import type { Commit } from './git.ts'

/**
 * A stored revision as a candidate for a new generation. Its bundle is taken as it is: it passed the gate when it was
 * activated, its digest stays the same, and neither the git server nor the compiler must work on the day of a rollback.
 * INVARIANT: control signs again only what control had signed.
 * @throws SallyportError `unsupported` for a bundle that this build does not evaluate.
 */
export function reusedCandidate({ key }: Pick<Store, 'key'>, row: RevisionRow, kind: RevisionKind): Candidate {
  const ends_at_ms = row.ends_at?.getTime()
  const facts = { ...row, ...(ends_at_ms === undefined ? {} : { ends_at_ms }) }
  const what = `revision ${row.generation} (${row.commit.slice(0, 12)})`
  if (!verifyRevision(facts, row.signature, createPublicKey(key)))
    throw new SallyportError('conflict', `${what} was not signed by this control plane and is not used again`)
  let digest: string
  try {
    digest = bundleDigest(unpackBundle(row.bundle))
  } catch (cause) {
    throw new SallyportError('unsupported', `${what} cannot be used by this build: ${(cause as Error).message}`, {
      remedy: 'pin its commit after the repository has a commit that this build compiles',
      cause,
    })
  }
  if (digest !== row.digest)
    throw new SallyportError('conflict', `the bundle of ${what} is not the one that was signed`)
  const { commit, author, subject_line, signer, opa_version, opts, bundle, rules, sources } = row
  const of: Commit = { commit, author, subject_line, signer }
  return { of, kind, digest, opa_version, opts, bundle, rules, sources, reused: row.generation }
}

/** The newest revision of a commit, given by its id or the beginning of it; recoveries are nobody's to take again. */
export async function revisionOf(db: Queryable, id: string): Promise<RevisionRow | undefined> {
  const fits = and(like(revisions.commit, `${id}%`), ne(revisions.kind, 'recovery'))
  const commits = await db.selectDistinct({ commit: revisions.commit }).from(revisions).where(fits).limit(2)
  if (commits.length > 1) throw ambiguous(id)
  const [row] = await db.select().from(revisions).where(fits).orderBy(desc(revisions.generation)).limit(1)
  return row
}

/** The newest revision before the one in force that is of another commit. */
export async function revisionBefore(db: Queryable, newest: NewestRevision): Promise<RevisionRow | undefined> {
  const [row] = await db
    .select()
    .from(revisions)
    .where(
      and(
        lt(revisions.generation, newest.generation),
        ne(revisions.commit, newest.commit),
        ne(revisions.kind, 'recovery'),
      ),
    )
    .orderBy(desc(revisions.generation))
    .limit(1)
  return row
}

function ambiguous(id: string): SallyportError {
  return new SallyportError('bad_request', `${id} is the beginning of several commits`, { remedy: 'write more of it' })
}
