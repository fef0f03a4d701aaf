import type { CheckpointCopy } from './copy.ts'
import { standsAt } from './copy.ts'
import { rootAt } from './merkle.ts'
import { type Checkpoint, openCheckpoint, type Trust } from './note.ts'
import { copyStatements } from './statements.ts'
import { checkpointsAfter, latestCheckpoint, nodeReader, type Sql } from './store.ts'

/** Why the log is not signed further. */
export interface LogProblem {
  readonly code:
    | 'went_back'
    | 'rewritten'
    | 'damaged'
    | 'copy_unreadable'
    | 'copy_unwritable'
    | 'chain_broken'
    | 'key_unknown'
    | 'outside'
    | 'database'
  readonly message: string
  readonly remedy: string
}

export class LogRefusal extends Error {
  readonly problem: LogProblem

  constructor(problem: LogProblem) {
    super(problem.message)
    this.problem = problem
  }
}

const restored = 'if you restored a backup, run `sallyport audit resume --from CHECKPOINT`: a signed, visible break'
const replaced =
  'if the root key file of control was replaced on purpose, run `sallyport audit rotate-key --from OLD-FILE -m WHY`; if not'
const keepEvidence =
  'keep the database and the copy of the checkpoints as they are, run `sallyport audit verify`, and find out who wrote to the database'

/**
 * Checks that the database holds the log that its last checkpoint signs.
 * @throws LogRefusal `damaged` where it does not.
 */
export async function checkOwnTree(sql: Sql, size: number, verifier: Trust): Promise<Checkpoint | null> {
  const damaged = (message: string) => new LogRefusal({ code: 'damaged', message, remedy: keepEvidence })
  const last = await latestCheckpoint(sql)
  if (!last) {
    if (size !== 0) throw damaged(`the log has ${size} entries and no checkpoint`)
    return null
  }
  if (last.size !== size) throw damaged(`the log has ${size} entries, and its last checkpoint is for ${last.size}`)
  const checkpoint = openCheckpoint(last.note, verifier)
  if (!checkpoint || checkpoint.size !== size)
    throw new LogRefusal({
      code: 'key_unknown',
      message: `the checkpoint for ${last.size} entries is not signed by a key that this host has`,
      remedy: `${replaced}, ${keepEvidence}`,
    })
  if (!(await rootOf(sql, size)).equals(checkpoint.root))
    throw damaged(`the tiles of the log give another root than its checkpoint for ${size} entries`)
  return checkpoint
}

/**
 * Compares the second path with the database, and brings it up to date where it is behind.
 *
 * INVARIANT: nothing is signed while the second path knows of more than the database, or of something else (RE4).
 * @returns how many checkpoints the copy lacked.
 */
export async function checkCopy(sql: Sql, size: number, copy: CheckpointCopy, verifier: Trust): Promise<number> {
  const line = await copy.latest().catch((error: Error) => {
    throw new LogRefusal({
      code: 'copy_unreadable',
      message: `the copy of the checkpoints cannot be read: ${error.message}`,
      remedy: 'make the path of `audit.copy` readable and writable for control',
    })
  })
  const outside = line && standsAt(line, verifier)
  if (line && !outside) {
    throw new LogRefusal({
      code: 'copy_unreadable',
      message: `the last line of ${copy.path} is not signed by ${verifier.name}`,
      remedy:
        'point `audit.copy` to the file that belongs to this deployment; if it does, somebody else wrote to it or the checkpoint key was changed',
    })
  }
  if (outside && outside.size > size) {
    throw new LogRefusal({
      code: 'went_back',
      message: `the database has ${size} entries, but ${outside.size} were signed: it went back by ${outside.size - size} (an old backup, or a deletion)`,
      remedy: restored,
    })
  }
  if (outside && !(await rootOf(sql, outside.size)).equals(outside.root)) {
    throw new LogRefusal({
      code: 'rewritten',
      message: `the first ${outside.size} entries are not those that were signed: the log was rewritten`,
      remedy: keepEvidence,
    })
  }
  const caughtUp = await catchUp(sql, outside?.size ?? 0, copy)
  await copyStatements(sql, copy).catch(error => {
    throw unwritable(copy, error as Error)
  })
  return caughtUp
}

/** @throws LogRefusal where an outside place holds something that we signed and that does not fit (places/publisher.ts). */
export async function checkOutside(sql: Sql): Promise<void> {
  const [row] = await sql<{ name: string; refused: string }[]>`
    select name, refused from audit_outside where refused is not null order by name limit 1`
  if (row)
    throw new LogRefusal({ code: 'outside', message: `outside place ${row.name}: ${row.refused}`, remedy: restored })
}

/** Appends the checkpoints that the copy lacks. @throws LogRefusal `copy_unwritable`. */
export async function catchUp(sql: Sql, from: number, copy: CheckpointCopy): Promise<number> {
  let count = 0
  for (let at = from; ; ) {
    const page = await checkpointsAfter(sql, at, 1000)
    if (page.length === 0) return count
    await appendTo(
      copy,
      page.map(({ note }) => note),
    )
    at = page.at(-1)!.size
    count += page.length
  }
}

/** Appends checkpoints, each only if it is ahead of the copy: a process that lost the lead in between must not set it back. */
export async function appendTo(copy: CheckpointCopy, notes: readonly string[]): Promise<void> {
  try {
    const last = await copy.latest()
    const at = last?.kind === 'checkpoint' ? sizeOf(last.note) : -1 // behind a break or a handover every one is ahead
    await copy.append(notes.filter(note => sizeOf(note) > at).map(note => ({ kind: 'checkpoint', note })))
  } catch (error) {
    throw unwritable(copy, error as Error)
  }
}

function unwritable(copy: CheckpointCopy, error: Error): LogRefusal {
  return new LogRefusal({
    code: 'copy_unwritable',
    message: `the checkpoint could not be copied to ${copy.path}: ${error.message}`,
    remedy: 'make the path of `audit.copy` writable and give it room; the log goes on by itself then',
  })
}

/** The size that a checkpoint of our own speaks of; -1 for what is none, which the next check finds. */
function sizeOf(note: string): number {
  const size = note.split('\n')[1] ?? ''
  return /^\d{1,16}$/.test(size) ? Number(size) : -1
}

export async function rootOf(sql: Sql, size: number): Promise<Buffer> {
  try {
    return await rootAt(size, nodeReader(sql))
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new LogRefusal({
      code: 'damaged',
      message: `the root of ${size} entries cannot be computed: ${error.message}`,
      remedy: keepEvidence,
    })
  }
}
