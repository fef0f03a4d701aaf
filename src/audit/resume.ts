import type { KeyObject } from 'node:crypto'
import { type Database, databaseNow } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { type Break, type CheckpointCopy, type CopyLine, signBreak, standsAt } from './copy.ts'
import type { AuditWriter } from './events.ts'
import { checkOwnTree } from './guard.ts'
import { chainOf } from './handover.ts'
import { rootAt } from './merkle.ts'
import { type Checkpoint, parseVkey, type Trust, vkey } from './note.ts'
import { handoversOf, keepStatement, statements } from './statements.ts'
import { nodeReader } from './store.ts'

/**
 * Lets the log go on after a restore from a backup: an event `log.resumed` and a signed break in the copy, both for ever
 * visible. The operator names the checkpoint that is given up, so that nobody does this unawares.
 * @param options.from size of the checkpoint that the copy ends with.
 * @throws SallyportError `conflict` where the copy does not end there, or the log is not a beginning of what was signed.
 */
export async function resumeLog(options: {
  readonly database: Database
  readonly writer: AuditWriter
  readonly key: KeyObject
  readonly origin: string
  readonly copy: CheckpointCopy
  /** Checkpoints that outside places hold: one of them may know of more than the copy. */
  readonly outside?: readonly Checkpoint[] | undefined
  readonly from: number
  readonly reason: string
  readonly subject_id?: string | undefined
}): Promise<Break> {
  const { database, copy, origin } = options
  const kept = await statementsOf(copy)
  const verifier = chainOf(
    handoversOf([...(await statements(database.sql)), ...kept]),
    parseVkey(vkey(origin, options.key)),
  )
  const latest = await copy.latest()
  let abandoned = latest && standsAt(latest, verifier)
  for (const point of options.outside ?? []) if (point.size > (abandoned?.size ?? -1)) abandoned = point
  if (!abandoned) throw new SallyportError('conflict', `${copy.path} holds no signed checkpoint to resume from`)
  const given = abandoned
  if (given.size !== options.from) {
    throw new SallyportError(
      'conflict',
      `the last checkpoint that is kept is for ${given.size} entries, not ${options.from}`,
      {
        remedy: `if that is the one you give up, run \`sallyport audit resume --from ${given.size}\``,
      },
    )
  }
  const resumed = await database.db.transaction(async tx => {
    const [state] = await database.sql<{ size: string }[]>`select size::text from audit_state where id = 1`
    const size = Number(state?.size ?? 0)
    if (size >= given.size) {
      throw new SallyportError(
        'conflict',
        `the log has ${size} entries and did not go back behind ${given.size}: there is nothing to resume`,
        {
          remedy: 'run `sallyport audit verify`: it names what is wrong',
        },
      )
    }
    await checkOwnTree(database.sql, size, verifier)
    await checkPrefix(options, size, verifier)
    const root = await rootAt(size, nodeReader(database.sql))
    await options.writer.record(tx, {
      type: 'log.resumed',
      subject_id: options.subject_id,
      body: {
        reason: options.reason,
        abandoned: { size: given.size, root: given.root.toString('hex') },
        resumed: { size, root: root.toString('hex') },
      },
    })
    return { origin, size, root }
  })
  const broken: Break = { origin, abandoned: given, resumed, at_ms: await databaseNow(database.sql) }
  const line: CopyLine = { kind: 'break', note: signBreak(broken, options.key) }
  await copy.append([line])
  // a restored database may lack what was signed after its backup; the places have to hear of the break
  for (const each of kept) await keepStatement(database.sql, each, true)
  await keepStatement(database.sql, line, true)
  return broken
}

/** The breaks and handovers in the copy. */
async function statementsOf(copy: CheckpointCopy): Promise<CopyLine[]> {
  const found: CopyLine[] = []
  for await (const { kind, note } of copy.lines()) if (kind !== 'checkpoint') found.push({ kind, note })
  return found
}

/** A break admits that the log went back; it never covers that its entries were changed. */
async function checkPrefix(
  { database, copy }: { readonly database: Database; readonly copy: CheckpointCopy },
  size: number,
  verifier: Trust,
): Promise<void> {
  const known = new Map<number, Buffer>()
  for await (const line of copy.lines()) {
    const at = standsAt(line, verifier)
    if (!at)
      throw new SallyportError('conflict', `line ${line.number} of ${copy.path} is not signed by ${verifier.name}`)
    if (line.kind === 'break') for (const other of known.keys()) if (other > at.size) known.delete(other)
    if (at.size <= size) known.set(at.size, at.root)
  }
  const [last, root] = [...known].sort(([a], [b]) => b - a)[0] ?? []
  if (last === undefined || root === undefined) return
  if (!(await rootAt(last, nodeReader(database.sql))).equals(root)) {
    throw new SallyportError(
      'conflict',
      `the first ${last} entries are not those that were signed: the log was rewritten, which no break can cover`,
      {
        remedy:
          'keep the database and the copy as evidence; restore a backup whose entries fit, or start a new copy file for a new log',
      },
    )
  }
}
