import type { KeyObject } from 'node:crypto'
import { desc, eq, gt, lt, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Queryable, Tx } from '../db/database.ts'
import { newId } from '../ids.ts'
import { type Bundle, bundleDigest, packBundle, type SignedBundle } from './bundle.ts'
import type { ActiveRevision } from './engine.ts'
import { type Problem, problemText } from './problem.ts'
import type { Commit } from './repository/git.ts'
import { notice } from './repository/notices.ts'
import { instant, lockActivation } from './repository/policy-state.ts'
import type { Sources } from './repository/sources.ts'
import { packSources } from './revision-sources.ts'
import { type RevisionKind, revisionFailures, revisions } from './schema.ts'
import { signRevision } from './signing.ts'

const keptFailures = 200
const toldProblems = 10

/** What control writes revisions with. */
export interface Store {
  readonly database: Database
  readonly audit: AuditWriter
  /** Control's private key for revisions. */
  readonly key: KeyObject
}

/** A revision to be: compiled now, or taken as it was compiled for another generation. */
export interface Candidate {
  readonly of: Commit
  readonly kind: RevisionKind
  readonly digest: string
  readonly opa_version: string
  readonly opts: number
  readonly bundle: Buffer
  readonly rules: Bundle['meta']['rules']
  readonly sources: Buffer | null
  /** The generation whose bundle this is. */
  readonly reused: number | null
  /** Seconds after which nothing is decided by it any more. */
  readonly ends_in_s?: number | undefined
}

/** What the gate let through, as a candidate. */
export function compiledCandidate(of: Commit, bundle: Bundle, sources: Sources, kind: RevisionKind): Candidate {
  return {
    of,
    kind,
    digest: bundleDigest(bundle),
    opa_version: bundle.opa,
    opts: bundle.opts,
    bundle: packBundle(bundle),
    rules: bundle.meta.rules,
    sources: packSources(sources),
    reused: null,
  }
}

/**
 * Signs a candidate under the next generation and puts it into force for every process: the row, its event, what `about`
 * changes, and the notification commit together.
 * @param about runs under the activation lock, before anything is written: what it answers ends there, null activates.
 * @param with runs after the revision was written, in the same transaction.
 */
export async function activate<Instead>(
  { database, audit, key }: Store,
  candidate: Candidate,
  about: (tx: Tx, newest: NewestRevision | undefined) => Promise<Instead | null>,
  withIt: (tx: Tx, revision: ActiveRevision) => Promise<void>,
): Promise<ActiveRevision | { readonly instead: Instead }> {
  return database.db.transaction(async tx => {
    await lockActivation(tx)
    const newest = await newestRevision(tx)
    const instead = await about(tx, newest)
    if (instead !== null) return { instead }
    const revision = await insertRevision(tx, key, candidate, (newest?.generation ?? 0) + 1)
    const { of, kind, reused } = candidate
    const facts = { generation: revision.generation, commit: of.commit, digest: revision.digest }
    await audit.record(tx, {
      type: 'revision.activated',
      body: {
        ...facts,
        kind,
        reused,
        author: of.author,
        signer: of.signer,
        opa: candidate.opa_version,
        subject_line: of.subject_line,
      },
    })
    await withIt(tx, revision)
    await tx.execute(sql`select pg_notify('revisions', ${String(revision.generation)})`)
    return revision
  })
}

async function insertRevision(
  tx: Tx,
  key: KeyObject,
  candidate: Candidate,
  generation: number,
): Promise<ActiveRevision> {
  const { of, digest, ends_in_s, ...compiled } = candidate
  // The end is signed too: whoever can write to the database could otherwise make a recovery last.
  const ends_at_ms = ends_in_s === undefined ? undefined : (await instant(tx)).getTime() + ends_in_s * 1000
  const facts = { generation, commit: of.commit, digest, ...(ends_at_ms === undefined ? {} : { ends_at_ms }) }
  const [row] = await tx
    .insert(revisions)
    .values({
      ...compiled,
      generation,
      commit: of.commit,
      digest,
      signature: signRevision(facts, key),
      author: of.author,
      signer: of.signer,
      subject_line: of.subject_line,
      ends_at: ends_at_ms === undefined ? null : new Date(ends_at_ms),
    })
    .returning({ at: revisions.activated_at })
  return { ...facts, activated_at_ms: row!.at.getTime() }
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
    await notice(tx, `refused ${commit} ${JSON.stringify(kept)}`, refusalText(commit, problems))
  })
}

/** What the policy channel reads of a refused commit. */
function refusalText(commit: string, problems: readonly Problem[]): string {
  const lines = problems.slice(0, toldProblems).map(problem => `• ${problemText(problem)}`)
  const more = problems.length > toldProblems ? [`… and ${problems.length - toldProblems} more`] : []
  return [`Policy commit ${commit.slice(0, 12)} was refused; what is in force stays in force.`, ...lines, ...more].join(
    '\n',
  )
}

export interface NewestRevision extends ActiveRevision {
  readonly kind: RevisionKind
  readonly opts: number
}

export async function newestRevision(db: Queryable): Promise<NewestRevision | undefined> {
  const [row] = await db
    .select({
      generation: revisions.generation,
      commit: revisions.commit,
      digest: revisions.digest,
      kind: revisions.kind,
      opts: revisions.opts,
      at: revisions.activated_at,
    })
    .from(revisions)
    .orderBy(desc(revisions.generation))
    .limit(1)
  if (row === undefined) return undefined
  const { at, ...facts } = row
  return { ...facts, activated_at_ms: at.getTime() }
}

/** The newest bundle after a generation, and how long ago the database activated it. */
export async function newestBundle(
  db: Queryable,
  after: number,
): Promise<(SignedBundle & { age_ms: number }) | undefined> {
  const { generation, commit, digest, bundle, signature, ends_at, activated_at } = revisions
  const [row] = await db
    .select({
      row: { generation, commit, digest, bundle, signature },
      ends_at,
      activated_at,
      age: sql<string>`(extract(epoch from clock_timestamp() - ${activated_at}) * 1000)::bigint::text`,
    })
    .from(revisions)
    .where(gt(generation, after))
    .orderBy(desc(generation))
    .limit(1)
  if (row === undefined) return undefined
  return {
    ...row.row,
    ...(row.ends_at === null ? {} : { ends_at_ms: row.ends_at.getTime() }),
    activated_at_ms: row.activated_at.getTime(),
    age_ms: Number(row.age),
  }
}

/** Refused commits, newest first. */
export async function listRefusals(db: Queryable, limit = 20): Promise<(typeof revisionFailures.$inferSelect)[]> {
  return db.select().from(revisionFailures).orderBy(desc(revisionFailures.at)).limit(Math.min(limit, keptFailures))
}

/** Revisions without their bundles and sources, newest first. */
export async function listRevisions(db: Queryable, limit = 20, before?: number) {
  const { generation, commit, digest, opa_version, author, signer, subject_line, kind, reused, ends_at, activated_at } =
    revisions
  return db
    .select({
      ...{ generation, commit, digest, opa_version, author, signer, subject_line, kind, reused, ends_at, activated_at },
      sources: sql<boolean>`${revisions.sources} is not null`,
    })
    .from(revisions)
    .where(before === undefined ? undefined : lt(generation, before))
    .orderBy(desc(generation))
    .limit(Math.min(limit, 1000))
}

export type RevisionRow = typeof revisions.$inferSelect

/** One revision with its bundle, for whoever computes an old decision again. */
export async function getRevision(db: Queryable, generation: number): Promise<RevisionRow | undefined> {
  return (await db.select().from(revisions).where(eq(revisions.generation, generation)))[0]
}
