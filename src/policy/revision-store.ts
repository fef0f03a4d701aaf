import type { KeyObject } from 'node:crypto'
import { desc, eq, gt, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Queryable } from '../db/database.ts'
import { newId } from '../ids.ts'
import { type Bundle, bundleDigest, packBundle, type SignedBundle } from './bundle.ts'
import type { ActiveRevision } from './engine.ts'
import type { Commit } from './git.ts'
import type { Problem } from './problem.ts'
import { revisionFailures, revisions } from './schema.ts'
import { signRevision } from './signing.ts'

/** Whoever activates holds it: generations follow one another, whichever control does it. */
const activationLock = 7_310_452_881_602n
const keptFailures = 200

/**
 * Signs a bundle under the next generation and puts it into force for every process: the row, its event and the
 * notification commit together.
 * @returns null when the newest revision is this commit already (another control was faster).
 */
export async function activate(
  database: Database,
  audit: AuditWriter,
  key: KeyObject,
  of: Commit,
  bundle: Bundle,
): Promise<ActiveRevision | null> {
  const digest = bundleDigest(bundle)
  const packed = packBundle(bundle)
  return database.db.transaction(async tx => {
    await tx.execute(sql`select pg_advisory_xact_lock(${activationLock.toString()}::bigint)`)
    const newest = await newestRevision(tx)
    if (newest?.commit === of.commit && newest.digest === digest) return null
    const generation = (newest?.generation ?? 0) + 1
    const facts = { generation, commit: of.commit, digest }
    const [row] = await tx
      .insert(revisions)
      .values({
        ...facts,
        opa_version: bundle.opa,
        opts: bundle.opts,
        bundle: packed,
        rules: bundle.meta.rules,
        signature: signRevision(facts, key),
        author: of.author,
        subject_line: of.subject_line,
      })
      .returning({ at: revisions.activated_at })
    await audit.record(tx, {
      type: 'revision.activated',
      body: { ...facts, author: of.author, opa: bundle.opa, subject_line: of.subject_line },
    })
    await tx.execute(sql`select pg_notify('revisions', ${String(generation)})`)
    return { ...facts, activated_at_ms: row!.at.getTime() }
  })
}

/** Writes down why a commit did not pass. */
export async function recordRefusal(
  database: Database,
  audit: AuditWriter,
  commit: string,
  problems: readonly Problem[],
): Promise<void> {
  const kept = problems.slice(0, 50)
  await database.db.transaction(async tx => {
    const first = kept[0]
    await audit.record(tx, {
      type: 'revision.refused',
      body: { commit, problems: problems.length, first: first === undefined ? '' : first.message.slice(0, 500) },
    })
    await tx.insert(revisionFailures).values({ id: newId('evt'), commit, problems: [...kept] })
    await tx.execute(
      sql`delete from revision_failures where id not in (select id from revision_failures order by at desc limit ${keptFailures})`,
    )
  })
}

export async function newestRevision(db: Queryable): Promise<ActiveRevision | undefined> {
  const [row] = await db
    .select({
      generation: revisions.generation,
      commit: revisions.commit,
      digest: revisions.digest,
      at: revisions.activated_at,
    })
    .from(revisions)
    .orderBy(desc(revisions.generation))
    .limit(1)
  return (
    row && { generation: row.generation, commit: row.commit, digest: row.digest, activated_at_ms: row.at.getTime() }
  )
}

/** The newest bundle after a generation, and how long ago the database activated it. */
export async function newestBundle(
  db: Queryable,
  after: number,
): Promise<(SignedBundle & { age_ms: number }) | undefined> {
  const [row] = await db
    .select({
      row: revisions,
      age: sql<string>`(extract(epoch from clock_timestamp() - ${revisions.activated_at}) * 1000)::bigint::text`,
    })
    .from(revisions)
    .where(gt(revisions.generation, after))
    .orderBy(desc(revisions.generation))
    .limit(1)
  if (row === undefined) return undefined
  const { generation, commit, digest, bundle, signature, activated_at } = row.row
  return {
    generation,
    commit,
    digest,
    bundle,
    signature,
    activated_at_ms: activated_at.getTime(),
    age_ms: Number(row.age),
  }
}

/** Refused commits, newest first. */
export async function listRefusals(db: Queryable, limit = 20): Promise<(typeof revisionFailures.$inferSelect)[]> {
  return db.select().from(revisionFailures).orderBy(desc(revisionFailures.at)).limit(Math.min(limit, keptFailures))
}

/** Revisions without their bundles, newest first. */
export async function listRevisions(db: Queryable, limit = 20) {
  const { generation, commit, digest, opa_version, author, subject_line, activated_at } = revisions
  return db
    .select({ generation, commit, digest, opa_version, author, subject_line, activated_at })
    .from(revisions)
    .orderBy(desc(revisions.generation))
    .limit(Math.min(limit, 1000))
}

/** One revision with its bundle, for whoever computes an old decision again. */
export async function getRevision(
  db: Queryable,
  generation: number,
): Promise<typeof revisions.$inferSelect | undefined> {
  return (await db.select().from(revisions).where(eq(revisions.generation, generation)))[0]
}
