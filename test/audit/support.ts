import { createPrivateKey, type KeyObject } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { CheckpointCopy } from '../../src/audit/copy.ts'
import { Sequencer, type SequencerOptions } from '../../src/audit/sequencer.ts'
import { type BatchWriter, createAuditWriter } from '../../src/audit/writer.ts'
import type { Database } from '../../src/db/database.ts'
import type { Secret } from '../../src/secret.ts'
import { createTestDatabase } from '../support/database.ts'

/** An Ed25519 key that is the same in every run; vectors are signed with it. */
export function fixedKey(byte = 7): KeyObject {
  const seed = Buffer.alloc(32, byte)
  return createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  })
}

export const origin = 'sallyport/test'
export const silent = pino({ level: 'silent' })

export interface LogWorld {
  readonly url: Secret
  readonly database: Database
  readonly writer: BatchWriter
  readonly copy: CheckpointCopy
  readonly sequencer: Sequencer
  /** Another sequencer on the same log. */
  sequencerWith(over: Partial<SequencerOptions>): Sequencer
  /** Appends n events in one transaction and sequences them. */
  grow(n: number): Promise<string[]>
  close(): Promise<void>
}

export async function logWorld(more: Partial<SequencerOptions> = {}): Promise<LogWorld> {
  const { database, drop, url } = await createTestDatabase()
  const copy = new CheckpointCopy(join(mkdtempSync(join(tmpdir(), 'sallyport-audit-')), 'checkpoints.jsonl'))
  const writer = createAuditWriter({ database, process_id: 'prc_00000000000000000000000001' })
  const sequencerWith: LogWorld['sequencerWith'] = over =>
    new Sequencer({ database, url, key: fixedKey(), origin, copy, logger: silent, ...more, ...over })
  const sequencer = sequencerWith({})
  return {
    url,
    database,
    writer,
    copy,
    sequencer,
    sequencerWith,
    grow: async n => {
      const ids = await database.db.transaction(tx =>
        writer.recordAll(
          tx,
          Array.from({ length: n }, (_, i) => ({
            type: 'vote.cast',
            body: { number: i },
            resource: 'shop-db',
            subject_id: 'sub_x',
          })),
        ),
      )
      for (let done = 0; done < n; ) {
        const step = await sequencer.step()
        if (step === 0) throw new Error(`the sequencer stands: ${sequencer.problem?.message ?? 'no problem'}`)
        done += step
      }
      return ids
    },
    close: async () => {
      await sequencer.release()
      await drop()
    },
  }
}

const tables = [
  'audit_inbox',
  'audit_places',
  'audit_tiles',
  'audit_checkpoints',
  'audit_state',
  'audit_writers',
  'audit_statements',
  'audit_cosignatures',
  'audit_outside',
]

/** What a backup of the log holds; the owner of the database puts it back by calling the answer. */
export async function backup({ sql }: Database): Promise<() => Promise<void>> {
  const kept = `kept_${Math.random().toString(36).slice(2)}`
  await sql.unsafe(`create schema ${kept}`)
  for (const table of tables) await sql.unsafe(`create table ${kept}.${table} as table ${table}`)
  return async () => {
    for (const table of tables)
      await sql.unsafe(`truncate ${table}; insert into ${table} overriding system value select * from ${kept}.${table}`)
  }
}
