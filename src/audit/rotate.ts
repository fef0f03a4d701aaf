import type { KeyObject } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { type Database, databaseNow } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import type { CheckpointCopy } from './copy.ts'
import type { AuditWriter } from './events.ts'
import { checkOwnTree } from './guard.ts'
import { chainOf, type Handover, lastKey, openHandover, signHandover } from './handover.ts'
import { emptyRoot } from './merkle.ts'
import { parseVkey, vkey } from './note.ts'
import { copyStatements, handoversOf, statements } from './statements.ts'

/**
 * Hands the log over to another key: a statement that both sign, an event, and a new epoch, so that whoever sequences
 * reads its key again. The statement is written down before anything is signed with the new key.
 * @throws SallyportError `conflict` where `from` is not the key that signs now, or `to` has signed before.
 */
export async function rotateKey(options: {
  readonly database: Database
  readonly writer: AuditWriter
  readonly origin: string
  readonly from: KeyObject
  readonly to: KeyObject
  readonly copy: CheckpointCopy
  readonly reason: string
}): Promise<Handover> {
  const { database, origin, from, to, copy } = options
  const [old, next] = [vkey(origin, from), vkey(origin, to)]
  const note = await database.db.transaction(async tx => {
    const [state] = await tx.execute<{ size: string }>(sql`
      select size::text from audit_state where id = 1 for update`)
    const chain = chainOf(handoversOf(await statements(database.sql)), parseVkey(old))
    if (!lastKey(chain).keyId.equals(parseVkey(old).keyId))
      throw new SallyportError('conflict', `the key ${old} was handed over already`, {
        remedy: 'run `sallyport audit verify`: it names the keys of the log',
      })
    if (chain.links.some(link => link.verifier.keyId.equals(parseVkey(next).keyId)))
      throw new SallyportError('conflict', `the key ${next} has signed this log before: a rotation needs a new one`)
    const size = Number(state?.size ?? 0)
    const at = (await checkOwnTree(database.sql, size, chain)) ?? { origin, size: 0, root: emptyRoot }
    const signed = signHandover(at, await databaseNow(database.sql), from, to)
    await options.writer.record(tx, {
      type: 'log.key_rotated',
      body: { reason: options.reason, from: old, to: next, size, root: at.root.toString('hex') },
    })
    await tx.execute(sql`insert into audit_statements (kind, note) values ('handover', ${signed})`)
    await tx.execute(sql`update audit_state set epoch = epoch + 1 where id = 1`)
    return signed
  })
  await copyStatements(database.sql, copy)
  return openHandover(note)!
}
