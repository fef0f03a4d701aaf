import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { raiseAlarm, watchAlarm } from './audit/alarm.ts'
import { type BatchWriter, createAuditWriter } from './audit/writer.ts'
import type { Config } from './config.ts'
import { type Database, openDatabase } from './db/database.ts'
import { Notices } from './db/notices.ts'
import { isGone, ProcessRow } from './db/processes.ts'
import { derive, type RootKey, rootKeyOf, secretRef } from './keys.ts'
import { logger } from './log.ts'
import { Engine } from './policy/engine.ts'
import { RevisionFollower } from './policy/follower.ts'
import { DecisionLog } from './policy/log/decision-log.ts'
import { Spool } from './policy/log/spool/spool.ts'
import { Resources } from './policy/resources.ts'
import { Shadow } from './policy/shadow/shadow.ts'
import type { Secret } from './secret.ts'
import type { SessionGround } from './sessions/ports.ts'
import { parsePublicKey } from './signing-keys.ts'

type Role = 'control' | 'gateway' | 'replay'

/** A running role: `close` ends it in the opposite order of its start. */
export interface Running {
  close(): Promise<void>
}

/** What every role stands on: the database, its notices, its process row, the revision it enforces. */
export interface Base {
  readonly config: Config
  readonly url: Secret
  readonly root: RootKey
  readonly database: Database
  readonly notices: Notices
  readonly row: ProcessRow
  readonly audit: BatchWriter
  readonly engine: Engine
  readonly follower: RevisionFollower
  readonly decisions: DecisionLog
  readonly ground: SessionGround & { readonly resources: Resources }
  readonly now: () => number
  /** Runs at the end, last added first. */
  onClose(run: () => Promise<unknown> | unknown): void
}

const log = logger('main')
const firstRevisionMs = 120_000
/** On another host, or in another container, a process is believed to live for so long. */
const spoolGone_s = 600

/** Opens what a role stands on, composes the role, and says that the process is ready. */
export async function runRole(
  role: Role,
  config: Config,
  options: { readonly connections: number; readonly facts?: Record<string, unknown> },
  compose: (base: Base) => Promise<void>,
): Promise<Running> {
  const closers: (() => Promise<unknown> | unknown)[] = []
  const close = async () => {
    for (const run of closers.splice(0).reverse()) {
      try {
        await run()
      } catch (error) {
        log.error({ role, err: error }, 'something did not close')
      }
    }
  }
  try {
    const base = await openBase(role, config, options, run => void closers.push(run))
    await compose(base)
    await firstRevision(base.engine)
    base.row.clear('starting')
    await base.row.heartbeat()
    return { close }
  } catch (error) {
    await close()
    throw error
  }
}

/** A process that is started beside a first control becomes ready with its revision; without one it goes on, not ready. */
async function firstRevision(engine: Engine): Promise<void> {
  if (engine.revision !== null) return
  const stop = new AbortController()
  const waiting = sleep(firstRevisionMs, undefined, { signal: stop.signal }).catch(() => {})
  const switched = engine.onSwitched(() => stop.abort())
  await waiting
  switched[Symbol.dispose]()
}

async function openBase(
  role: Role,
  config: Config,
  options: { readonly connections: number; readonly facts?: Record<string, unknown> },
  onClose: Base['onClose'],
): Promise<Base> {
  const url = secretRef(config.database[role])
  const root = rootKeyOf(config.keys[role])
  const database = openDatabase({ url, max: options.connections, application: `sallyport ${role}` })
  onClose(() => database.close())
  const row = await ProcessRow.register(database, { role, facts: options.facts ?? {} })
  onClose(() => row.close())
  const audit = createAuditWriter({ database, process_id: row.id })
  await database.db.transaction(tx => audit.record(tx, { type: 'process.started', body: { role, process_id: row.id } }))
  const notices = new Notices({ url, application: `sallyport ${role} notices` })
  await notices.start()
  onClose(() => notices.close())

  const now = () => Date.now() - row.skewMs
  const engine = new Engine({
    key: parsePublicKey(config.public_keys.bundles),
    now,
    zone: config.zone,
    max_groups_age_s: config.oidc.max_groups_age_s,
  })
  const spool = new Spool({
    folder: join(config.data, 'decision-spool', role),
    key: derive(root, 'decision-spool'),
    process_id: row.id,
    isGone: id => isGone(database.db, id, spoolGone_s),
  })
  const decisions = new DecisionLog({ database, engine, spool })
  onClose(() => decisions.close())
  row.describe('decisions', () => decisions.state)
  void decisions.takeOver()
  const alarm = watchAlarm(
    'decisions of this process',
    () => decisions.state.alarm,
    (what, reason) => raiseAlarm({ database, audit, row }, what, reason),
  )
  onClose(() => alarm[Symbol.dispose]())
  const follower = new RevisionFollower({ database, engine, now, maxAge_s: config.policy.max_age_s })
  const look = () => {
    const problem = follower.notReady
    if (problem === null) row.clear('policy')
    else row.refuse('policy', problem)
  }
  engine.onSwitched(revision => {
    row.generation = revision.generation
    look() // at once: who is told that this process is ready finds it so
    void row.heartbeat().catch(() => {}) // the next beat says it again
  })
  notices.listen('revisions', () => follower.poll())
  await follower.start()
  onClose(() => follower.stop())
  const watch = setInterval(look, 500)
  onClose(() => clearInterval(watch))
  const shadow = new Shadow({
    database,
    engine,
    key: parsePublicKey(config.public_keys.bundles),
    process_id: row.id,
    zone: config.zone,
    max_groups_age_s: config.oidc.max_groups_age_s,
  })
  shadow.start()
  onClose(() => shadow[Symbol.asyncDispose]())
  const ground = {
    database,
    engine,
    decisionLog: decisions,
    audit,
    resources: new Resources(engine),
    zone: config.zone,
  }
  return { config, url, root, database, notices, row, audit, engine, follower, decisions, ground, now, onClose }
}
