import { createPublicKey } from 'node:crypto'
import { and, desc, like, lt, ne, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../../db/database.ts'
import { SallyportError } from '../../errors.ts'
import { logger } from '../../log.ts'
import { bundleDigest, unpackBundle } from '../bundle.ts'
import type { ActiveRevision } from '../engine.ts'
import {
  activate,
  type Candidate,
  getRevision,
  type NewestRevision,
  type RevisionRow,
  type Store,
} from '../revision-store.ts'
import { type RevisionKind, revisions } from '../schema.ts'
import { verifyRevision } from '../signing.ts'
import type { Commit } from './git.ts'
import { notice } from './notices.ts'
import { changeState, instant, lockedState, noPin, noRecovery, type PolicyState, readState } from './policy-state.ts'

/** Who steers by hand, and why. */
export interface Hand {
  readonly subject_id: string
  readonly name: string
  readonly reason: string
}

/** What is in force after a hand was on it. */
export interface Steered {
  readonly generation: number
  readonly commit: string
}

/** Whether what was activated with this signer may come back into force (`GitMirror.mayReturn`). */
export type MayReturn = (signer: string | null) => Promise<boolean>

const log = logger('policy')
const longestRecovery_s = 3600

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

/**
 * Puts a candidate into force and holds it there, whatever the tracked ref names.
 * @param acknowledged the ref's history was rewritten, and this commit of it may be followed on from.
 */
export async function pin(store: Store, candidate: Candidate, by: Hand, acknowledged: boolean): Promise<Steered> {
  const kind = candidate.kind === 'rolled_back' ? 'rolled_back' : 'pinned'
  const { commit } = candidate.of
  const hold = async (tx: Tx, generation: number): Promise<Steered> => {
    await changeState(tx, {
      pinned: commit,
      pinned_generation: generation,
      pinned_kind: kind,
      pinned_by: by.subject_id,
      pinned_at: await instant(tx),
      pin_reason: by.reason,
      ...(acknowledged ? { acknowledged: commit } : {}),
    })
    await store.audit.record(tx, {
      type: kind === 'pinned' ? 'revision.pinned' : 'revision.rolled_back',
      subject_id: by.subject_id,
      body: { generation, commit, reused: candidate.reused, reason: by.reason },
    })
    const verb = kind === 'pinned' ? 'pinned' : 'rolled back to'
    await notice(
      tx,
      `${kind} ${generation} ${by.subject_id} ${Date.now()}`,
      `${by.name} ${verb} policy commit ${commit.slice(0, 12)} (generation ${generation}): ${by.reason}\nNothing newer is followed until \`sallyport policy unpin\`.`,
    )
    return { generation, commit }
  }
  let steered: Steered | undefined
  const done = await activate(
    store,
    candidate,
    async (tx, newest) => {
      refuseDuringRecovery(await readState(tx))
      // What is in force already is only held.
      return newest?.commit === commit && newest.digest === candidate.digest ? await hold(tx, newest.generation) : null
    },
    async (tx, { generation }) => {
      steered = await hold(tx, generation)
    },
  )
  return 'instead' in done ? done.instead : steered!
}

/** Lets go: the tracked ref is followed again from the next look on. A recovery ends first, if there is one. */
export async function unpin(
  store: Store,
  by: Hand,
  mayReturn: MayReturn,
): Promise<{ readonly ended: 'recovery' | 'pin' }> {
  const state = await readState(store.database.db)
  if (state.recovery_generation !== null) {
    await endRecovery(store, by, mayReturn)
    return { ended: 'recovery' }
  }
  await store.database.db.transaction(async tx => {
    const { pinned, pinned_generation } = await lockedState(tx)
    if (pinned === null)
      throw new SallyportError('conflict', 'nothing is pinned', { remedy: 'look at `sallyport policy status`' })
    await changeState(tx, noPin)
    const body = { generation: pinned_generation, commit: pinned, reason: by.reason }
    await store.audit.record(tx, { type: 'revision.unpinned', subject_id: by.subject_id, body })
    await notice(
      tx,
      `unpinned ${pinned_generation} ${Date.now()}`,
      `${by.name} unpinned policy commit ${pinned.slice(0, 12)}: ${by.reason}\nThe tracked ref is followed again.`,
    )
  })
  return { ended: 'pin' }
}

/**
 * Puts a candidate that never was in the repository into force, for an hour at most. It works without policy's leave, and
 * without a signature where commits need one: whoever holds control's key can sign anything, and this way everybody hears of it.
 * @param by `unsigned`: why nobody's signature was verified, where the deployment asks for one.
 */
export async function recover(
  store: Store,
  candidate: Candidate,
  by: { readonly who: string; readonly reason: string; readonly unsigned?: string | undefined },
): Promise<ActiveRevision> {
  const { ends_in_s } = candidate
  const { signer } = candidate.of
  if (candidate.kind !== 'recovery' || ends_in_s === undefined || !(ends_in_s >= 60 && ends_in_s <= longestRecovery_s))
    throw new SallyportError('bad_request', 'a recovery lasts from one minute to one hour')
  const revision = await activate(
    store,
    candidate,
    async () => null,
    async (tx, { generation, commit, ends_at_ms }) => {
      await changeState(tx, {
        recovery_generation: generation,
        recovery_by: by.who,
        recovery_reason: by.reason,
        recovery_ends_at: new Date(ends_at_ms!),
      })
      const body = { generation, commit, by: by.who, reason: by.reason, ends_at_ms, signer }
      await store.audit.record(tx, { type: 'revision.recovered', body })
      await store.audit.record(tx, {
        type: 'alert.raised',
        body: { what: 'a recovery policy is in force', reason: by.reason, by: by.who, generation },
      })
      await notice(
        tx,
        `recovered ${generation}`,
        `RECOVERY: ${by.who} put a local policy into force on the control host (generation ${generation}, ${commit}): ${by.reason}\nIt did not come from the policy repository.${signedBy(signer, by.unsigned)} It ends by itself at ${new Date(ends_at_ms!).toISOString()}, or with \`sallyport policy unpin\`.`,
      )
    },
  )
  if ('instead' in revision) throw new Error('a recovery has no alternative')
  return revision
}

/** What is said of a signature, where the deployment asks for one. */
function signedBy(signer: string | null, unsigned: string | undefined): string {
  if (signer !== null) return ` It is signed by ${signer}.`
  return unsigned === undefined ? '' : ` No allowed signer signed it: ${unsigned}.`
}

/** Ends a recovery whose time is over. Any control may do it; one does. */
export async function endDueRecovery(store: Store, mayReturn: MayReturn): Promise<void> {
  const { recovery_ends_at } = await readState(store.database.db)
  if (recovery_ends_at === null) return
  const [row] = await store.database.db.execute<{ over: boolean }>(
    sql`select clock_timestamp() >= ${recovery_ends_at.toISOString()}::timestamptz as over`,
  )
  if (row!.over) await endRecovery(store, null, mayReturn)
}

/**
 * What was in force before comes back at once, from what is stored; the tracked ref is followed from there. Where it
 * cannot come back, the recovery ends all the same: nobody could follow, pin or roll back anything otherwise.
 */
async function endRecovery(store: Store, by: Hand | null, mayReturn: MayReturn): Promise<void> {
  const { commit, candidate, not } = await toReturnTo(store, mayReturn)
  const over = async (tx: Tx) => {
    const { recovery_generation } = await readState(tx)
    // Where nothing can come back, nothing is held either: the tracked ref is compiled anew.
    await changeState(tx, candidate === undefined ? { ...noRecovery, ...noPin } : noRecovery)
    await store.audit.record(tx, {
      type: 'revision.recovery_ended',
      ...(by === null ? {} : { subject_id: by.subject_id }),
      body: {
        generation: recovery_generation,
        back_to: candidate === undefined ? null : commit,
        ...(not === undefined ? {} : { not_back: not }),
        reason: by?.reason ?? 'its time is over',
      },
    })
    const now =
      candidate === undefined
        ? `Nothing came back: ${not ?? 'nothing was in force before it'}; nothing is decided until the tracked ref names a commit that may come into force, or one is pinned.`
        : `Back in force: policy commit ${candidate.of.commit.slice(0, 12)}; the tracked ref is followed again unless a commit is pinned.`
    await notice(
      tx,
      `recovery ended ${recovery_generation}`,
      `The recovery is over (${by === null ? 'its time is over' : `${by.name}: ${by.reason}`}). ${now}`,
    )
  }
  if (candidate === undefined) {
    await store.database.db.transaction(async tx => {
      if ((await lockedState(tx)).recovery_generation !== null) await over(tx)
    })
    return
  }
  await activate(
    store,
    candidate,
    async tx => ((await readState(tx)).recovery_generation === null ? 'ended already' : null),
    over,
  )
}

/**
 * What was in force before a recovery, if this build can still evaluate it and its signer is still one. INVARIANT: to come
 * back is to come into force: a commit whose signer was struck off the list meanwhile, because of it maybe, does not.
 * @throws SallyportError where the deployment's list of signers cannot be read: then nobody knows, and it is tried again.
 */
async function toReturnTo(
  store: Store,
  mayReturn: MayReturn,
): Promise<{ commit?: string; candidate?: Candidate; not?: string }> {
  const row = await lastOrdinary(store.database.db)
  if (row === undefined) return {}
  const { commit, signer, generation } = row
  const short = commit.slice(0, 12)
  if (!(await mayReturn(signer))) {
    const not = `policy commit ${short} ${signer === null ? 'has no verified signature, which policy.signatures demands' : `was signed by ${signer}, who is not among policy.signatures any more`}`
    log.error({ generation, signer }, `${not}: it does not come back after the recovery`)
    return { commit, not }
  }
  try {
    return { commit, candidate: reusedCandidate(store, row, 'returned') }
  } catch (error) {
    log.error({ err: error, generation }, 'what was in force before the recovery cannot come back')
    return { commit, not: `policy commit ${short} cannot be used again: ${(error as Error).message}` }
  }
}

async function lastOrdinary(db: Queryable): Promise<RevisionRow | undefined> {
  const [row] = await db
    .select({ generation: revisions.generation })
    .from(revisions)
    .where(ne(revisions.kind, 'recovery'))
    .orderBy(desc(revisions.generation))
    .limit(1)
  return row && getRevision(db, row.generation)
}

function refuseDuringRecovery({ recovery_generation, recovery_ends_at }: PolicyState): void {
  if (recovery_generation === null) return
  throw new SallyportError(
    'conflict',
    `a recovery is in force until ${recovery_ends_at?.toISOString()}: nothing is pinned meanwhile`,
    { remedy: 'end it with `sallyport policy unpin`, then try again' },
  )
}

export function ambiguous(id: string): SallyportError {
  return new SallyportError('bad_request', `${id} is the beginning of several commits`, { remedy: 'write more of it' })
}
