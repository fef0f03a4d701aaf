import { join } from 'node:path'
import { buildApi } from './api/server.ts'
import { Approvals } from './approvals/approvals.ts'
import { measureReviews } from './approvals/metrics.ts'
import { raiseAlarm, watchAlarm } from './audit/alarm.ts'
import { CheckpointCopy } from './audit/copy.ts'
import { Publisher } from './audit/places/publisher.ts'
import { originOf, Sequencer } from './audit/sequencer.ts'
import { type Base, type Running, runRole } from './base.ts'
import type { Config } from './config.ts'
import { effectsOf, logClasses, personalRows } from './control-keeping.ts'
import { openPolicy, webhookSecrets } from './control-policy.ts'
import { packageRoot, packageVersion } from './db/package-root.ts'
import { pruneProcesses } from './db/processes.ts'
import { checkpointKeyOf } from './evidence/checkpoint-key.ts'
import { OutsideCheckpoints } from './evidence/outside.ts'
import { openPlaces } from './evidence/places.ts'
import { verifyScript } from './evidence/script.ts'
import { gatewayEndpoint } from './gateway/endpoint.ts'
import { Registry } from './gateway/registry.ts'
import type { Identity } from './identity/door.ts'
import { createIdentity } from './identity/identity.ts'
import { type Job, startJobs, startTicks } from './jobs.ts'
import { secretRef, ticketsKey } from './keys.ts'
import { logger } from './log.ts'
import { batchDecisions } from './policy/log/decision-batch.ts'
import { keepDecisionDays, RecentDays } from './policy/log/decision-days.ts'
import { DecisionExports } from './policy/log/export/exports.ts'
import { openSinks } from './policy/log/export/open.ts'
import { countDecisionLogs, decisionLogs } from './policy/log/metrics.ts'
import { askForLook } from './policy/repository/tracker.ts'
import { allProtocols } from './protocols/all.ts'
import { Erasure } from './recording/erasure.ts'
import { Locks } from './recording/locks.ts'
import { measureJournals } from './recording/metrics.ts'
import { openStore } from './recording/open-store.ts'
import { Proposals } from './recording/proposals.ts'
import { ReplayClient } from './recording/replay-client.ts'
import { Retention } from './recording/retention.ts'
import { Sealer, sealing } from './recording/sealer.ts'
import { liveSubjects, sessionsEnded } from './sessions/facts.ts'
import { Sessions } from './sessions/sessions.ts'
import { Tickets } from './sessions/tickets.ts'
import { protocolKeys, signingKeys } from './signing-keys.ts'
import { createSlack, type Slack } from './slack/slack.ts'

const log = logger('main')

/** Control: API, sign-in, approvals, Slack, the policy repository, the audit sequencer and every schedule. */
export function startControl(config: Config): Promise<Running> {
  return runRole('control', config, { connections: 16 }, async base => {
    const { database, notices, row, audit, engine, ground, root, url, now, decisions } = base
    measureJournals(database)
    const registry = new Registry(allProtocols)
    const approvals = new Approvals(ground)
    const sessions = new Sessions(ground)
    const identity = createIdentity({
      database,
      audit,
      config,
      client_secret: config.oidc.client_secret === undefined ? undefined : secretRef(config.oidc.client_secret),
      root,
      ports: { liveSubjects: () => liveSubjects(database), onGroupsChanged: () => {} }, // control hears its own notice
    })
    notices.listen('subjects', async subject_id => {
      if (subject_id !== null) await approvals.redecideAll({ subject_id })
    })

    const policy = openPolicy(base, registry)
    base.onClose(() => policy[Symbol.asyncDispose]())
    await policy.start()
    await base.follower.poll()
    const again = () =>
      approvals.redecideAll().catch(error => log.error({ err: error }, 'grants were not decided again'))
    engine.onSwitched(() => void again())

    const keyFor = (wanted: string) => checkpointKeyOf(root, originOf(config.deployment), wanted)
    const copy = new CheckpointCopy(config.audit.copy)
    const sequencer = new Sequencer({
      database,
      url,
      key: signingKeys(root, 'checkpoints').privateKey,
      keyFor,
      origin: originOf(config.deployment),
      copy,
      logger: logger('audit'),
    })
    const publisher = new Publisher({
      database,
      audit,
      places: await openPlaces(config, { now }),
      vkey: sequencer.vkey,
      process_id: row.id,
    })
    await publisher.firstLook()
    const readable = await openPlaces(config, { reader: 'bundles' })
    const kept = new OutsideCheckpoints({ database, copy, places: readable, vkey: sequencer.vkey })
    notices.listen('audit', () => sequencer.wake())
    const stopping = new AbortController()
    const sequencing = sequencer.run(stopping.signal)
    base.onClose(() => {
      stopping.abort()
      return sequencing
    })

    const slack = openSlack(base, approvals, identity)
    if (slack !== undefined) {
      notices.listen('requests', async payload => {
        if (payload !== null) await slack.requestChanged((JSON.parse(payload) as { id: string }).id)
      })
      notices.listen('reviews', async payload => {
        if (payload !== null) await slack.requestChanged((JSON.parse(payload) as { request_id: string }).request_id)
      })
    }

    const store = await openStore(config)
    const keeping = { database, audit, engine, decisions, store }
    const retention = new Retention({ ...keeping, logs: logClasses() })
    const erasure = new Erasure({ ...keeping, rows: personalRows() })
    const proposals = new Proposals({ database, audit, effects: effectsOf(audit, erasure) })
    const app = await buildApi({
      config,
      database,
      identity,
      engine,
      decisions,
      now,
      ready: () => sequencer.problem?.message ?? row.state,
      web: join(packageRoot(), 'dist/web'),
      audit,
      log: { vkey: sequencer.vkey, problem: () => sequencer.problem },
      evidence: { script: verifyScript(), outside: size => kept.upTo(size) },
      slack,
      retention,
      erasure,
      proposals,
      status: { development: config.development === true, promises: promisesOf(config) },
      approvals,
      sessions,
      tickets: new Tickets(ground, ticketsKey('control', root)),
      registry,
      repository: policy.repository,
      webhooks: { secrets: webhookSecrets(config), look: () => askForLook(database) },
      resources: ground.resources,
      endpoint: protocol => gatewayEndpoint(database, config, protocol),
      keys: (protocol, purpose) => protocolKeys(root, protocol, purpose),
      replay: new ReplayClient({
        host: config.replay.host,
        port: config.replay.port,
        callKey: signingKeys(root, 'replay-calls').privateKey,
        now,
      }),
    })
    const channel = config.slack?.policy_channel
    const tell = async (message: string) => {
      log.warn({ policy: message }, 'news of the policy')
      if (slack !== undefined && channel !== undefined) await slack.say(channel, message)
    }
    const sealer = new Sealer({ database, audit, sessionsEnded: ids => sessionsEnded(database, ids) })
    const unsealed = watchAlarm(
      'recordings of sessions that are over',
      () => sealer.problem,
      (what, reason) => raiseAlarm(base, what, reason),
    )
    base.onClose(() => unsealed[Symbol.dispose]())
    const locks = new Locks(keeping)
    const unlocked = watchAlarm(
      'the store was not told how long to keep recordings',
      () => locks.problem,
      (what, reason) => raiseAlarm(base, what, reason),
    )
    base.onClose(() => unlocked[Symbol.dispose]())
    const days = new RecentDays(30)
    const ticks: Job[] = [
      ...(await policy.ticks(tell)),
      { name: 'requests', every_ms: 1_000, run: () => approvals.expireDue() },
      { name: 'reviews', every_ms: 10_000, run: () => measureReviews(database) },
      { name: 'sessions', every_ms: 1_000, run: () => sessions.sweep() },
      { name: 'groups', every_ms: 1_000, run: () => identity.refreshDue() },
      { name: 'decisions', every_ms: 2_000, run: () => batchDecisions(database, audit, days.next()) },
      { name: 'decision logs', every_ms: 5_000, run: async () => countDecisionLogs(await decisionLogs(database)) },
      { name: 'seals', every_ms: sealing.every_ms, run: () => sealer.sealDue() },
      { name: 'unsealed', every_ms: 60_000, run: () => sealer.look() },
      { name: 'locks', every_ms: 5_000, run: () => locks.applyDue() },
      { name: 'proposals', every_ms: 10_000, run: () => proposals.expireDue() },
    ]
    const exporting = new DecisionExports({
      database,
      audit,
      sinks: openSinks(config.decision_exports, now),
      labels: { app: 'sallyport', id: config.deployment, version: packageVersion() },
      process_id: row.id,
    })
    ticks.push({ name: 'exports', every_ms: 1_000, run: () => exporting.run() })
    ticks.push({ name: 'outside places', every_ms: 1_000, run: () => publisher.run() })
    if (slack !== undefined) ticks.push({ name: 'slack', every_ms: 1_000, run: () => slack.sweep() })
    const jobs: Job[] = [
      { name: 'dead', every_ms: 15_000, run: () => sessions.reapDead() },
      { name: 'grants', every_ms: 60_000, run: again },
      { name: 'sign-ins', every_ms: 60_000, run: () => identity.sweep() },
      { name: 'retention', every_ms: 86_400_000, run: () => retention.sweep() },
      { name: 'deletions', every_ms: 900_000, run: () => retention.finishStarted() },
      { name: 'erasures', every_ms: 15_000, run: () => erasure.run() },
      { name: 'decision-days', every_ms: 3_600_000, run: () => keepDecisionDays(database) },
      { name: 'processes', every_ms: 86_400_000, run: () => pruneProcesses(database.db) },
      ...policy.jobs(),
    ]
    await app.listen({ host: config.control.host, port: config.control.port })
    base.onClose(() => app.close())
    const ticking = startTicks(ticks)
    base.onClose(() => ticking[Symbol.asyncDispose]())
    base.onClose(() => exporting.close()) // first, so that no tick waits for a delivery
    base.onClose(() => publisher.close())
    const queued = await startJobs({ url, jobs })
    base.onClose(() => queued[Symbol.asyncDispose]())
  })
}

function openSlack(base: Base, approvals: Approvals, identity: Identity): Slack | undefined {
  const { config, database, audit, engine, decisions, ground, now } = base
  if (config.slack === undefined) return undefined
  return createSlack({
    signingSecret: secretRef(config.slack.signing_secret),
    botToken: secretRef(config.slack.bot_token),
    teamId: config.slack.team_id,
    apiUrl: config.slack.api_url,
    origin: config.origin,
    zone: config.zone,
    database,
    approvals,
    identity,
    resources: ground.resources,
    engine,
    decisions,
    audit,
    logger: logger('slack'),
    now,
  })
}

/** What this deployment does not promise, in sentences for `sallyport status`. */
function promisesOf(config: Config): string[] {
  const said: string[] = []
  if (config.development === true) {
    said.push('one user of this machine holds every key: the promises about separated keys do not hold here')
  }
  if (config.audit.copy.startsWith(config.data) && (config.audit.places ?? []).length === 0) {
    said.push('checkpoints are copied to the same disk: nothing is claimed against the owner of the database')
  }
  return said
}
