import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { raiseAlarm, watchAlarm } from './audit/alarm.ts'
import { type Base, type Running, runRole } from './base.ts'
import type { Config } from './config.ts'
import { CertificateAuthority } from './gateway/certificates.ts'
import { Gateway } from './gateway/gateway.ts'
import { defaultLimits } from './gateway/ground.ts'
import type { CommandHandler, KeyPair, RidingProtocol } from './gateway/protocol.ts'
import { Registry } from './gateway/registry.ts'
import { startTicks } from './jobs.ts'
import { derive, rootKeyOf, ticketsKey } from './keys.ts'
import { logger } from './log.ts'
import { allProtocols } from './protocols/all.ts'
import { Catalog } from './recording/catalog.ts'
import { Journal } from './recording/journal.ts'
import { openStore } from './recording/open-store.ts'
import { Watchers, watchChannel } from './recording/watchers.ts'
import { Leases } from './sessions/leases.ts'
import { Sessions } from './sessions/sessions.ts'
import { Tickets } from './sessions/tickets.ts'
import { protocolKeys } from './signing-keys.ts'

const log = logger('main')
const tellFirst_ms = 500

/** One gateway worker: the only kind of process that resolves targets' secrets and dials. */
export async function startGateway(config: Config): Promise<Running> {
  // What passes lies outside of the heap and counts towards its limit: with V8's own, which is near where the heap is small
  // as here, all of it would be marked every few MiB, at the cost of two thirds of the processor.
  setFlagsFromString('--heap-growing-percent=100')
  const authority = await CertificateAuthority.open({
    folder: join(config.data, 'gateway'),
    hosts: [...new Set([config.gateway.public_host, config.gateway.host])],
    deployment: config.deployment,
    given: config.gateway.tls,
  })
  const root = rootKeyOf(config.keys.gateway)
  const keys = (protocol: string, purpose: string) => protocolKeys(root, protocol, purpose)
  const registry = new Registry(allProtocols)
  const published = Object.fromEntries(
    registry.listening().map(each => [each.name, each.publish?.(purpose => keys(each.name, purpose)) ?? {}]),
  )
  const builds = Object.fromEntries(allProtocols.map(each => [each.name, each.check?.() ?? {}]))
  for (const [protocol, build] of Object.entries(builds)) log.info({ protocol, ...build }, 'serves a protocol')
  const facts = {
    builds,
    ca: authority.ca,
    host: config.gateway.public_host,
    ports: { ...config.gateway.ports },
    published,
  }
  return runRole('gateway', config, { connections: 8, facts }, async base => {
    const { database, notices, row, audit, engine, ground, decisions } = base
    base.onClose(() => authority[Symbol.dispose]())
    const watchers = new Watchers()
    notices.listen(watchChannel, session => watchers.seen(session))
    const catalog = new Catalog(database, audit)
    const journal = await Journal.start({
      catalog,
      store: await openStore(config),
      process_id: row.id,
      spool_root: join(config.data, 'spool'),
      spool_bytes: config.recording.spool_mib * 1024 * 1024,
      recipients: config.recording.recipients,
      originals_recipients: config.recording.originals_recipients ?? [],
      watched: watchers.watched,
      dead_after_s: config.gateway.offline_grace_s + 15, // until then it may still record what the database cannot hear
    })
    base.onClose(() => journal.close())
    row.describe('journal', () => journal.state)
    const alarm = watchAlarm(
      'the recordings of this process',
      () => journal.state.alarm,
      (what, reason) => raiseAlarm(base, what, reason),
    )
    base.onClose(() => alarm[Symbol.dispose]())

    const leases = new Leases(ground, {
      onStuck: (lease, error) =>
        void raiseAlarm(base, `lease ${lease.id} on ${lease.resource} cannot be removed`, error),
    })
    const handlers = handlersOf(registry, config.data, keys)
    const gateway = new Gateway(
      {
        process_id: row.id,
        skewMs: () => row.skewMs,
        database,
        notices,
        audit,
        engine,
        resources: ground.resources,
        decisionLog: decisions,
        tickets: new Tickets(ground, ticketsKey('gateway', root)),
        sessions: new Sessions(ground),
        leases,
        journal,
        registry,
        handlers,
        targets: { secrets: config.secrets, allow_addresses: config.allow_addresses, connect_ms: 10_000, keys },
        tls: () => authority.context(),
        maskKey: derive(root, 'mask-hash').key.export(),
        pretenceKey: derive(root, 'pretences').key.export(),
        origin: config.origin,
        offline_grace_s: config.gateway.offline_grace_s,
        plaintext: config.gateway.plaintext ?? false,
        limits: defaultLimits,
      },
      { host: config.gateway.host, ports: config.gateway.ports, max_connections: 5_000, max_per_address: 1_000 },
    )
    await gateway.start()
    base.onClose(() => gateway.stop())

    // Whoever serves a session hears of its end at the same instant: its clients read why, and then the backends go.
    let stopping = false
    const reap = async () => {
      const most = 20
      const some = () => leases.reapDue((permit, lease) => gateway.reap(permit, lease), tellFirst_ms, most)
      while ((await some()) === most && !stopping); // hundreds of sessions may have ended at once
    }
    notices.listen('leases', async payload => {
      if (payload !== null) await sleep(tellFirst_ms, undefined, { ref: false })
      await reap()
    })
    const ticking = startTicks([
      { name: 'leases', every_ms: 2_000, run: reap },
      { name: 'spools', every_ms: 5_000, run: () => journal.recoverDue() },
      { name: 'kept beside recordings', every_ms: 600_000, run: () => tendHandlers(handlers, catalog) },
      { name: 'journal', every_ms: 1_000, run: () => tellReadiness(journal, row) },
    ])
    base.onClose(() => {
      stopping = true
      return ticking[Symbol.asyncDispose]()
    })
  })
}

/** What understands the commands of protocols that ride on another; each has a folder of its own. */
function handlersOf(
  registry: Registry,
  data: string,
  keys: (protocol: string, purpose: string) => KeyPair,
): Map<string, CommandHandler> {
  const riding = registry.list().filter(each => each.listener.kind === 'rides-on') as RidingProtocol[]
  return new Map(
    riding.map(each => {
      const folder = join(data, 'gateway', each.name)
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      return [each.name, each.handler({ folder, keys: purpose => keys(each.name, purpose) })]
    }),
  )
}

async function tendHandlers(handlers: ReadonlyMap<string, CommandHandler>, catalog: Catalog): Promise<void> {
  for (const handler of handlers.values()) await handler.tend?.(sessions => catalog.recorded(sessions))
}

/** Whoever sends people to this process finds out that it could not record them. */
async function tellReadiness(journal: Journal, row: Base['row']): Promise<void> {
  await journal.look()
  const { unavailable } = journal.state
  if (unavailable === null) row.clear('journal')
  else row.refuse('journal', `no session can be recorded: ${unavailable}`)
}
