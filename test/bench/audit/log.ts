import { createSecretKey } from 'node:crypto'
import { join } from 'node:path'
import { pino } from 'pino'
import { CheckpointCopy } from '../../../src/audit/copy.ts'
import { Sequencer } from '../../../src/audit/sequencer.ts'
import { type Database, openDatabase } from '../../../src/db/database.ts'
import { RootKey } from '../../../src/keys.ts'
import type { Secret } from '../../../src/secret.ts'
import { signingKeys } from '../../../src/signing-keys.ts'

export const origin = 'sallyport/bench'
export const checkpointKey = signingKeys(new RootKey(createSecretKey(Buffer.alloc(32, 1))), 'checkpoints').privateKey

/** A sequencer as control runs one. */
export function openSequencer(url: Secret, folder: string): { database: Database; sequencer: Sequencer } {
  const database = openDatabase({ url, max: 4, application: 'bench' })
  const sequencer = new Sequencer({
    database,
    url,
    key: checkpointKey,
    origin,
    copy: new CheckpointCopy(join(folder, 'copy')),
    logger: pino({ level: 'silent' }),
  })
  return { database, sequencer }
}
