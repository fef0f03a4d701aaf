import { generateKeyPairSync } from 'node:crypto'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { openDatabase } from '../../src/db/database.ts'
import { ProcessRow } from '../../src/db/processes.ts'
import type { Caller } from '../../src/identity/facts.ts'
import { findSubject } from '../../src/identity/subjects.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { ReplayClient } from '../../src/recording/replay-client.ts'
import { ReplayServer } from '../../src/recording/replay-server.ts'
import type { GatewayWorld } from './world.ts'

/** A replay process for a gateway world, and people who follow sessions as `sallyport tail` does. */
export async function startReplay(world: GatewayWorld, engine: Engine) {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const database = openDatabase({ url: world.test.roleUrls.replay, max: 4, application: 'test replay' })
  const row = await ProcessRow.register(database, { role: 'replay' })
  const server = new ReplayServer({
    database,
    engine,
    reader: world.reader,
    audit: createAuditWriter({ database, process_id: row.id }),
    decisions: new DecisionLog({ database, engine }),
    tokenFacts: async () => null,
    subjectFacts: id => findSubject(database.db, id),
    process_id: row.id,
    now: Date.now,
    zone: 'UTC',
    callKey: publicKey,
  })
  const address = await server.listen({ host: '127.0.0.1', port: 0 })
  const client = new ReplayClient({ ...address, callKey: privateKey, now: Date.now })
  return {
    database,
    row,
    /** @returns what makes them leave. */
    async follow(subject: SubjectFacts, session_id: string): Promise<AbortController> {
      const leave = new AbortController()
      const caller = { facts: subject, via: 'cli', credential: 'x' } as Caller
      const stream = await client.events(caller, session_id, { follow: 'true' }, leave.signal)
      stream.on('error', () => {}).resume()
      return leave
    },
    async close() {
      await server.close()
      await row.close()
      await database.close()
    },
  }
}
