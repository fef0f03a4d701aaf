import { createHash, type KeyObject } from 'node:crypto'
import { and, desc, eq, getTableColumns, isNull, sql } from 'drizzle-orm'
import type { Database, Queryable, Tx } from '../../db/database.ts'
import { type Bundle, bundleDigest, packBundle } from '../bundle.ts'
import { type Group, Groups, keyOf } from '../impact/groups.ts'
import type { Problem } from '../problem.ts'
import type { Commit } from '../repository/git.ts'
import { signShadow } from '../signing.ts'
import { shadowCounts, shadowDivergences, shadowRevisions } from './schema.ts'
import type { Weighed } from './weigher.ts'

const { bundle: _bundle, signature: _signature, ...columns } = getTableColumns(shadowRevisions)

/** A shadow as it is looked at again and again: without its bundle. */
export type StoredShadow = Omit<typeof shadowRevisions.$inferSelect, 'bundle' | 'signature'>

/** Groups of divergences that are kept of one shadow under one active revision. */
export const keptDivergences = 2_000
const keptShadows = 5
const lock = 7_310_452_881_603n

/** The shadow that is weighed now, whether it passed the gate or not. */
export async function newestShadow(db: Queryable): Promise<StoredShadow | undefined> {
  const newest = db.select(columns).from(shadowRevisions).orderBy(desc(shadowRevisions.number)).limit(1)
  return (await newest).find(row => row.ended_at === null)
}

/** Its bundle and control's signature; null where it did not pass the gate. */
export async function shadowBundle(
  db: Queryable,
  number: number,
): Promise<{ readonly bundle: Buffer | null; readonly signature: Buffer | null } | undefined> {
  const { bundle, signature } = shadowRevisions
  return (await db.select({ bundle, signature }).from(shadowRevisions).where(eq(shadowRevisions.number, number)))[0]
}

/** Puts a candidate beside the active revision; those of long ago go with what was found under them. */
export async function storeShadow(
  database: Database,
  key: KeyObject,
  of: Commit,
  outcome: { readonly bundle: Bundle } | { readonly problems: readonly Problem[] },
): Promise<number> {
  return database.db.transaction(async tx => {
    await tx.execute(sql`select pg_advisory_xact_lock(${lock.toString()}::bigint)`)
    const [newest] = await tx
      .select({ number: shadowRevisions.number })
      .from(shadowRevisions)
      .orderBy(desc(shadowRevisions.number))
      .limit(1)
    const number = (newest?.number ?? 0) + 1
    const about = { number, commit: of.commit, author: of.author, subject_line: of.subject_line }
    if ('problems' in outcome)
      await tx.insert(shadowRevisions).values({ ...about, problems: outcome.problems.slice(0, 50) })
    else {
      const digest = bundleDigest(outcome.bundle)
      const signature = signShadow({ shadow: number, commit: of.commit, digest }, key)
      await tx.insert(shadowRevisions).values({ ...about, digest, bundle: packBundle(outcome.bundle), signature })
    }
    await tx.delete(shadowRevisions).where(sql`${shadowRevisions.number} <= ${number - keptShadows}`)
    return number
  })
}

/** The setting was taken away: nothing is weighed any more. */
export async function endShadows({ db }: Database): Promise<void> {
  await db.update(shadowRevisions).set({ ended_at: sql`now()` }).where(isNull(shadowRevisions.ended_at))
}

/** Adds what a process weighed to what is known of a shadow. */
export async function writeWeighed(
  database: Database,
  number: number,
  process_id: string,
  weighed: readonly Weighed[],
  skipped: number,
): Promise<void> {
  const byGeneration = new Map<number, Groups>()
  const sum = { judged: 0, diverged: 0, left: 0 }
  for (const each of weighed) {
    for (const name of ['judged', 'diverged', 'left'] as const) sum[name] += each[name]
    for (const [generation, groups] of each.groups) {
      const into = byGeneration.get(generation) ?? new Groups(keptDivergences)
      byGeneration.set(generation, into)
      for (const group of groups) into.merge(group)
    }
  }
  await database.db.transaction(async tx => {
    for (const [generation, groups] of byGeneration) {
      sum.left += groups.left
      for (const group of groups.list()) if (!(await addGroup(tx, number, generation, group))) sum.left += group.count
    }
    const { judged, diverged, left } = sum
    await tx
      .insert(shadowCounts)
      .values({ number, process_id, judged, diverged, skipped, left })
      .onConflictDoUpdate({
        target: [shadowCounts.number, shadowCounts.process_id],
        set: {
          judged: sql`${shadowCounts.judged} + ${judged}`,
          diverged: sql`${shadowCounts.diverged} + ${diverged}`,
          skipped: sql`${shadowCounts.skipped} + ${skipped}`,
          left: sql`${shadowCounts.left} + ${left}`,
          at: sql`now()`,
        },
      })
  })
}

/** @returns false where there are as many groups already as are kept, and this is none of them. */
async function addGroup(tx: Tx, number: number, generation: number, given: Group): Promise<boolean> {
  const group = storable(given)
  const key = createHash('sha256').update(keyOf(group)).digest('hex')
  const updated = await tx
    .update(shadowDivergences)
    .set({
      count: sql`${shadowDivergences.count} + ${group.count}`,
      last_at_ms: sql`greatest(${shadowDivergences.last_at_ms}, ${group.last_at_ms})`,
    })
    .where(ofGroup(number, generation, key))
    .returning({ key: shadowDivergences.key })
  if (updated.length > 0) return true
  const [known] = await tx
    .select({ count: sql<number>`count(*)::int` })
    .from(shadowDivergences)
    .where(and(eq(shadowDivergences.number, number), eq(shadowDivergences.generation, generation)))
  if ((known?.count ?? 0) >= keptDivergences) return false
  const { point, change, subject, resource, role, before, after, count, first_at_ms, last_at_ms } = group
  await tx
    .insert(shadowDivergences)
    .values({
      ...{
        number,
        generation,
        key,
        point,
        change,
        subject,
        resource,
        role,
        before,
        after,
        count,
        first_at_ms,
        last_at_ms,
      },
      details: [...group.details],
      examples: [...group.examples],
    })
    .onConflictDoUpdate({
      target: [shadowDivergences.number, shadowDivergences.generation, shadowDivergences.key],
      set: { count: sql`${shadowDivergences.count} + ${count}` },
    })
  return true
}

/** PostgreSQL's text takes no NUL: one in a name or message must not keep all the others out. */
function storable(group: Group): Group {
  return JSON.parse(
    JSON.stringify(group).replace(/\\(\\|u0000)/g, (found, kind) => (kind === 'u0000' ? '\ufffd' : found)),
  ) as Group
}

function ofGroup(number: number, generation: number, key: string) {
  return and(
    eq(shadowDivergences.number, number),
    eq(shadowDivergences.generation, generation),
    eq(shadowDivergences.key, key),
  )
}

export interface ShadowReport {
  readonly shadow: StoredShadow
  readonly counts: {
    readonly judged: number
    readonly diverged: number
    readonly skipped: number
    readonly left: number
    readonly processes: number
  }
  /** Of the active revision, the largest first. */
  readonly groups: readonly (typeof shadowDivergences.$inferSelect)[]
}

/** What is known of the shadow that is weighed now. */
export async function shadowReport(
  db: Queryable,
  generation: number,
  limit: number,
): Promise<ShadowReport | undefined> {
  const found = await newestShadow(db)
  if (found === undefined) return undefined
  const [counts] = await db
    .select({
      judged: sql<number>`coalesce(sum(${shadowCounts.judged}), 0)::float8`,
      diverged: sql<number>`coalesce(sum(${shadowCounts.diverged}), 0)::float8`,
      skipped: sql<number>`coalesce(sum(${shadowCounts.skipped}), 0)::float8`,
      left: sql<number>`coalesce(sum(${shadowCounts.left}), 0)::float8`,
      processes: sql<number>`count(*)::int`,
    })
    .from(shadowCounts)
    .where(eq(shadowCounts.number, found.number))
  const groups = await db
    .select()
    .from(shadowDivergences)
    .where(and(eq(shadowDivergences.number, found.number), eq(shadowDivergences.generation, generation)))
    .orderBy(desc(shadowDivergences.count), shadowDivergences.key)
    .limit(limit)
  return { shadow: found, counts: counts!, groups }
}
