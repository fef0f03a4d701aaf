import { desc, ne, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../../db/database.ts'
import { SallyportError } from '../../errors.ts'
import { logger } from '../../log.ts'
import type { ActiveRevision } from '../engine.ts'
import { activate, type Candidate, getRevision, type RevisionRow, type Store } from '../revision-store.ts'
import { revisions } from '../schema.ts'
import { notice } from './notices.ts'
import { changeState, lockedState, noPin, noRecovery, readState } from './policy-state.ts'
import { reusedCandidate } from './reuse.ts'
import type { Hand, MayReturn } from './steering.ts'

const log = logger('policy')
const longestRecovery_s = 3600

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
export async function endRecovery(store: Store, by: Hand | null, mayReturn: MayReturn): Promise<void> {
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
