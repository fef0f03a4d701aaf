import type { Tx } from '../../db/database.ts'
import { SallyportError } from '../../errors.ts'
import {
  activate,
  type Candidate,
  getRevision,
  newestRevision,
  type RevisionRow,
  type Store,
} from '../revision-store.ts'
import { notice } from './notices.ts'
import { changeState, instant, lockedState, noPin, type PolicyState, readState } from './policy-state.ts'
import { endRecovery } from './recovery.ts'
import { revisionBefore } from './reuse.ts'

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

/**
 * What a rollback puts into force: this generation, or the one before that was of another commit.
 * @throws SallyportError that says why it cannot come back.
 */
export async function rollsBackTo(
  store: Store,
  generation: number | undefined,
  mayReturn: MayReturn,
): Promise<RevisionRow> {
  const { db } = store.database
  const newest = await newestRevision(db)
  const row =
    generation !== undefined
      ? await getRevision(db, generation)
      : newest === undefined
        ? undefined
        : await revisionBefore(db, newest)
  const remedy = '`sallyport policy history` lists what was in force'
  if (row === undefined)
    throw new SallyportError(
      'not_found',
      generation === undefined ? 'there is nothing to go back to' : `there was no generation ${generation}`,
      { remedy },
    )
  if (row.kind === 'recovery')
    throw new SallyportError('conflict', `generation ${row.generation} was a recovery, which is not taken again`, {
      remedy,
    })
  if (!(await mayReturn(row.signer)))
    throw new SallyportError(
      'conflict',
      row.signer === null
        ? `generation ${row.generation} comes from a commit without a verified signature, which policy.signatures demands`
        : `generation ${row.generation} was signed by ${row.signer}, who is not among policy.signatures any more`,
      { remedy: 'choose a later one, or push a signed commit' },
    )
  return row
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

function refuseDuringRecovery({ recovery_generation, recovery_ends_at }: PolicyState): void {
  if (recovery_generation === null) return
  throw new SallyportError(
    'conflict',
    `a recovery is in force until ${recovery_ends_at?.toISOString()}: nothing is pinned meanwhile`,
    { remedy: 'end it with `sallyport policy unpin`, then try again' },
  )
}
