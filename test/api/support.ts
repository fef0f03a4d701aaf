import { generateKeyPairSync } from 'node:crypto'
import type { Api, BaseDeps } from '../../src/api/deps.ts'
import { baseAreas, buildServer } from '../../src/api/server.ts'
import { freePort } from '../../src/db/loopback.ts'
import { bundleDigest, bundleOpts, packBundle } from '../../src/policy/bundle.ts'
import { opaFacts, Workspace } from '../../src/policy/compiler.ts'
import { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { findOpa } from '../../src/policy/opa-binary.ts'
import { points } from '../../src/policy/points.ts'
import { signRevision } from '../../src/policy/signing.ts'
import { type IdentityWorld, identityWorld } from '../identity/support.ts'

export const buildBase = (deps: BaseDeps): Promise<Api> => buildServer(deps, baseAreas)

/** Security admins may do everything, everybody what is their own, and only for a while. */
const admin = `package sallyport.admin
import rego.v1
default result := {"effect": "deny", "reasons": [{"rule": "admin.default", "message": "your groups do not allow this", "remedy": "ask a security admin"}]}
result := {"effect": "allow", "reasons": []} if "security-admins" in input.subject.groups
else := {"effect": "allow", "reasons": []} if { input.own; input.subject.kind == "person" }
`
const log = `package sallyport.decision_log
import rego.v1
result := {"erase": [], "mask": []}
`

/** An engine that enforces `policy` at the `admin` point, compiled and signed as a real revision is. */
export async function testEngine(policy = admin): Promise<Engine> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const engine = new Engine({ key: publicKey, now: Date.now, zone: 'UTC', max_groups_age_s: 60 })
  const sources = new Map<string, Buffer>()
  for (const point of Object.keys(points)) {
    const text =
      { admin: policy, decision_log: log }[point] ??
      `package sallyport.${point}\nimport rego.v1\nresult := null if false\n`
    sources.set(`${point}/${point}.rego`, Buffer.from(text))
  }
  const opa = await opaFacts(await findOpa())
  using workspace = new Workspace(opa, sources)
  const { wasm } = await workspace.build(
    Object.keys(points).map(point => `sallyport/${point}/result`),
    false,
  )
  const bundle = {
    opa: opa.version,
    opts: bundleOpts,
    caps: '',
    data: { resources: {}, roles: {} },
    wasm: wasm.toString('base64'),
    meta: {
      rules: { 'admin.default': { file: 'admin/admin.rego', line: 3 } },
      defaults: { admin: 'admin.default' },
      needs: [],
    },
  }
  const facts = { generation: 1, commit: 'c'.repeat(40), digest: bundleDigest(bundle) }
  engine.load({
    ...facts,
    bundle: packBundle(bundle),
    signature: signRevision(facts, privateKey),
    activated_at_ms: Date.now(),
  })
  return engine
}

/** The engine's revision as a row, so that decisions can refer to it. */
async function insertRevision(world: IdentityWorld, engine: Engine): Promise<void> {
  const { generation, commit, digest } = engine.revision!
  await world.database.sql`
    insert into revisions (generation, commit, digest, opa_version, opts, bundle, rules, signature, author, subject_line)
    values (${generation}, ${commit}, ${digest}, '1.22.0', 1, '\\x00', '{}', '\\x00', 'Sam', 'First')`
}

/** The API over HTTP on a port of its own, with identity, database, identity provider and engine behind it. */
export async function apiWorld(
  build: (deps: BaseDeps) => Promise<Api>,
  options: { engine?: Engine; web?: string; limits?: BaseDeps['limits'] } = {},
) {
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const world = await identityWorld({ origin })
  const engine = options.engine ?? (await testEngine())
  if (engine.revision !== null) await insertRevision(world, engine)
  const decisions = new DecisionLog({ database: world.database, engine })
  let ready = 'ready'
  const app = await build({
    config: { origin, deployment: 'test', zone: 'UTC', oidc: world.config.oidc, control: {} },
    database: world.database,
    identity: world.identity,
    engine,
    decisions,
    now: Date.now,
    ready: () => ready,
    web: options.web,
    limits: options.limits ?? { calls: 100_000, sign_ins: 100_000, failures: 100_000 },
  })
  await app.listen({ host: '127.0.0.1', port })
  return {
    ...world,
    app,
    engine,
    decisions,
    setReady: (state: string) => (ready = state),
    stop: async () => {
      await app.close()
      await decisions.close()
      await world.stop()
    },
  }
}

export type ApiWorld = Awaited<ReturnType<typeof apiWorld>>
