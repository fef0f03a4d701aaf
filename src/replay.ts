import { type Running, runRole } from './base.ts'
import type { Config } from './config.ts'
import { findSubject } from './identity/subjects.ts'
import { liveToken } from './identity/tokens.ts'
import { secretRef } from './keys.ts'
import { openStore } from './recording/open-store.ts'
import { Reader } from './recording/reader.ts'
import { ReplayServer } from './recording/replay-server.ts'
import { TextIndex } from './recording/text-index.ts'
import { parsePublicKey } from './signing-keys.ts'

/** Replay: the only role that holds the identities of recordings. It decides for itself who may see what. */
export function startReplay(config: Config): Promise<Running> {
  return runRole('replay', config, { connections: 6 }, async base => {
    const { database, audit, engine, decisions, now } = base
    const { originals_identity } = config.recording
    const reader = new Reader({
      database,
      store: await openStore(config),
      identities: [secretRef(config.recording.identity)],
      originals_identities: originals_identity === undefined ? [] : [secretRef(originals_identity)],
    })
    const server = new ReplayServer({
      database,
      audit,
      engine,
      decisions,
      reader,
      process_id: base.row.id,
      callKey: parsePublicKey(config.public_keys.replay_calls),
      subjectFacts: id => findSubject(database.db, id),
      tokenFacts: id => liveToken(database.db, id),
      now,
      zone: config.zone,
    })
    await server.listen(config.replay)
    base.onClose(() => server.close())
    const texts = new TextIndex({ database, reader, process_id: base.row.id })
    texts.start()
    base.onClose(() => texts.close())
  })
}
