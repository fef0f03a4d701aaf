import { generateKeyPairSync } from 'node:crypto'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase } from '../../src/db/database.ts'
import { bundleDigest, packBundle } from '../../src/policy/bundle.ts'
import { Engine } from '../../src/policy/engine.ts'
import { compile } from '../../src/policy/gate.ts'
import { findOpa } from '../../src/policy/opa-binary.ts'
import { readFolder } from '../../src/policy/repository/sources.ts'
import { Shadow } from '../../src/policy/shadow/shadow.ts'
import { shadowReport, storeShadow } from '../../src/policy/shadow/store.ts'
import { signRevision } from '../../src/policy/signing.ts'
import { actionInput } from '../policy/support.ts'
import { startBenchDatabase } from './live/database.ts'
import { figure, median } from './live/figure.ts'
import { throughGateway } from './live/shadow-traffic.ts'

/**
 * `npm run bench -- shadow [--seconds N]` (2 a round): first decisions a second of one process that does nothing else, all
 * of them different so that no cache helps, with and without a shadow in turn (nobody decides that much); then pgbench's
 * one-row SELECT through the gateway, on connections that last and on a new connection for each, in turn as well.
 */
const after = process.argv.indexOf('--seconds')
const seconds = after < 0 ? 2 : Number(process.argv[after + 1])
const rounds = 5
const least = 0.95

const server = await startBenchDatabase()
try {
  const { url } = server
  const database = openDatabase({ url, max: 4, application: 'bench' })
  const keys = generateKeyPairSync('ed25519')
  const gate = { opa: await findOpa(), protocols: { checkResource: () => null, canMask: () => true } }
  const sources = readFolder(resolve(import.meta.dirname, '../../policies'))
  const { bundle } = await compile(sources, gate)
  const engine = new Engine({ key: keys.publicKey, now: Date.now, zone: 'UTC', max_groups_age_s: 3600 })
  const facts = { generation: 1, commit: '0'.repeat(40), digest: bundleDigest(bundle) }
  const signature = signRevision(facts, keys.privateKey)
  engine.load({ ...facts, bundle: packBundle(bundle), signature, activated_at_ms: 0 })
  const candidate = { ...bundle, data: { ...bundle.data, shadow: { candidate: true } } }
  const of = { commit: '1'.repeat(40), author: 'bench', subject_line: 'bench', signer: null }
  await storeShadow(database, keys.privateKey, of, { bundle: candidate })

  let asked = 0
  /** Decisions a second; it breathes every few milliseconds, as a process that serves sockets does. */
  const rate = async () => {
    const from = asked
    const started = performance.now()
    while (performance.now() - started < seconds * 1000) {
      for (let i = 0; i < 100; i++) engine.decide('action', actionInput({ facts: { asked: asked++ } }))
      await new Promise(resolve => setImmediate(resolve))
    }
    return (asked - from) / ((performance.now() - started) / 1000)
  }
  /** The thread takes a moment to start, longer on a machine that does other things. */
  const started = async (shadow: Shadow) => {
    const weighed = async () => (await shadowReport(database.db, 1, 1))?.counts.judged ?? 0
    const before = await weighed()
    engine.decide('action', actionInput({ facts: { asked: asked++ } }))
    for (let tries = 0; tries < 300 && (await weighed()) === before; tries++) {
      await sleep(100)
      await shadow.look()
    }
  }
  await rate()
  const ratios: number[] = []
  const [without, beside]: [number[], number[]] = [[], []]
  for (let round = 0; round < rounds; round++) {
    without.push(await rate())
    const shadow = new Shadow({
      database,
      engine,
      key: keys.publicKey,
      process_id: `prc_${round}`,
      zone: 'UTC',
      max_groups_age_s: 3600,
    })
    shadow.start()
    await shadow.look()
    await started(shadow)
    beside.push(await rate())
    await shadow[Symbol.asyncDispose]()
    ratios.push(beside.at(-1)! / without.at(-1)!)
  }
  const { counts } = (await shadowReport(database.db, 1, 1))!
  if (counts.judged === 0) throw new Error('the shadow weighed nothing')
  figure('shadow', 'decisions a second', median(without), '1/s')
  figure('shadow', 'decisions a second beside a shadow', median(beside), '1/s')
  figure('shadow', 'share of the throughput that is left', median(ratios), 'x', { least })
  figure('shadow', 'weighed by the shadow', counts.judged, 'decisions')
  figure('shadow', 'skipped, and counted as such', counts.skipped, 'decisions')
  await database.close()
} finally {
  await server.stop()
}

await throughGateway(seconds, 3, least)
