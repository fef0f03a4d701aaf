import { createSecretKey } from 'node:crypto'
import { openDatabase } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import { DerivedKey } from '../../src/keys.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { Spool } from '../../src/policy/log/spool/spool.ts'
import { Secret } from '../../src/secret.ts'
import { actionInput, engineOn } from '../policy/support.ts'

/** A process that decides and never gets to the database: it says the ids, and waits for its end. */
const database = openDatabase({ url: new Secret('postgres://nobody@127.0.0.1:9/none'), max: 1, application: 'test' })
const engine = await engineOn()
const log = new DecisionLog({
  database,
  engine,
  spool: new Spool({
    folder: process.argv[2]!,
    key: new DerivedKey('decision-spool', createSecretKey(Buffer.alloc(32, 7))),
    process_id: newId('prc'),
    isGone: async () => false,
  }),
})
const session_id = newId('ses')
const ids: string[] = []
for (let i = 0; i < 600; i++) {
  const { decision } = engine.decide('action', actionInput({ kind: `killed ${i}` }), { session_id })
  if (!log.append(decision)) throw new Error('refused')
  ids.push(decision.id)
}
process.stdout.write(`${JSON.stringify(ids)}\n`)
setInterval(() => {}, 1_000)
