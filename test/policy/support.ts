import { generateKeyPairSync } from 'node:crypto'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Database } from '../../src/db/database.ts'
import { type Bundle, bundleDigest, bundleOpts, packBundle, type SignedBundle } from '../../src/policy/bundle.ts'
import { opaFacts, Workspace } from '../../src/policy/compiler.ts'
import { Engine, type EngineOptions } from '../../src/policy/engine.ts'
import { compile, type ProtocolCheck } from '../../src/policy/gate.ts'
import { type Input, points, type ResourceFacts, type SubjectFacts } from '../../src/policy/points.ts'
import { readFolder } from '../../src/policy/repository/sources.ts'
import { revisions } from '../../src/policy/schema.ts'
import { signRevision } from '../../src/policy/signing.ts'
import { timeFacts } from '../../src/policy/time.ts'

export const starterRoot = join(import.meta.dirname, '../../policies')

/** The `opa` command of the tests. */
export function opaPath(): string {
  return process.env['OPA_BIN'] ?? join(homedir(), '.cache/sallyport/opa-1.22.0/opa')
}

/** Protocols as the gate sees them where a test is about something else. */
export const acceptAll: ProtocolCheck = { checkResource: () => null, canMask: () => true }

/** The starter policies as sources, with files replaced or added (`null` removes one). */
export function starter(changes: Readonly<Record<string, string | null>> = {}): Map<string, Buffer> {
  const sources = new Map(readFolder(starterRoot))
  sources.delete('policy.yaml') // a test that changes a file does not owe it tests
  for (const [path, text] of Object.entries(changes)) {
    if (text === null) sources.delete(path)
    else sources.set(path, Buffer.from(text))
  }
  return sources
}

/** The same without their tests, which cost most of the gate's time: where a test is about something else. */
export function lean(changes: Readonly<Record<string, string | null>> = {}): Map<string, Buffer> {
  return new Map([...starter(changes)].filter(([path]) => !path.endsWith('_test.rego')))
}

export const keys = generateKeyPairSync('ed25519')
export const now = Date.UTC(2026, 10, 21, 12)

const compiled = new Map<string, Promise<Bundle>>()

/** The bundle of a policy root; compiled once for each content. Tests are no part of it. */
export function bundleOf(changes: Readonly<Record<string, string | null>> = {}): Promise<Bundle> {
  const key = JSON.stringify(changes)
  let bundle = compiled.get(key)
  if (bundle === undefined) {
    bundle = compile(lean(changes), { opa: opaPath(), protocols: acceptAll }).then(c => c.bundle)
    compiled.set(key, bundle)
  }
  return bundle
}

export function signed(bundle: Bundle, generation: number, change: Partial<SignedBundle> = {}): SignedBundle {
  const facts = { generation, commit: 'c'.repeat(39) + String(generation % 10), digest: bundleDigest(bundle) }
  return {
    ...facts,
    bundle: packBundle(bundle),
    signature: signRevision(facts, keys.privateKey),
    activated_at_ms: now,
    ...change,
  }
}

/** A signed first revision in the database, for decisions to refer to. */
export async function storeRevision(
  database: Database,
  bundle?: Bundle,
  more: { readonly sources?: Buffer } = {},
): Promise<void> {
  const { generation, commit, digest, bundle: packed, signature } = signed(bundle ?? (await bundleOf()), 1)
  await database.db.insert(revisions).values({
    generation,
    commit,
    digest,
    opa_version: 'test',
    opts: 1,
    bundle: Buffer.from(packed),
    rules: {},
    signature: Buffer.from(signature),
    author: '',
    subject_line: '',
    ...more,
  })
}

export function newEngine(options: Partial<EngineOptions> = {}): Engine {
  return new Engine({ key: keys.publicKey, now: () => now, zone: 'UTC', max_groups_age_s: 3600, ...options })
}

/** An engine that enforces the starter policies, or these sources of them. */
export async function engineOn(
  changes: Readonly<Record<string, string | null>> = {},
  options: Partial<EngineOptions> = {},
): Promise<Engine> {
  const engine = newEngine(options)
  engine.load(signed(await bundleOf(changes), 1))
  return engine
}

/** A bundle whose points come from modules written in a test, compiled past the gate: for what the gate would refuse. */
export async function rawBundle(
  modules: Readonly<Record<string, string>>,
  data: Bundle['data'] = { resources: {}, roles: {} },
): Promise<Bundle> {
  const opa = await opaFacts(opaPath())
  const files = Object.keys(points).map((point): [string, Buffer] => {
    const text = modules[point] ?? `package sallyport.${point}\nresult := {"effect": "allow", "reasons": []}`
    return [`${point}/${point}.rego`, Buffer.from(text)]
  })
  const workspace = new Workspace(opa, new Map([...files, ['own/data.json', Buffer.from('{}')]]))
  const { wasm } = await workspace.build(
    Object.keys(points)
      .sort()
      .map(point => `sallyport/${point}/result`),
    false,
  )
  workspace[Symbol.dispose]()
  const meta = {
    rules: { 'test.rule': { file: 'action/action.rego', line: 3 } },
    defaults: { action: 'test.rule', access: 'test.rule' },
    needs: [],
  }
  return { opa: opa.version, opts: bundleOpts, caps: 'test', data, wasm: wasm.toString('base64'), meta }
}

export async function rawEngine(
  modules: Readonly<Record<string, string>>,
  options: Partial<EngineOptions> = {},
  meta: Partial<Bundle['meta']> = {},
): Promise<Engine> {
  const engine = newEngine(options)
  const bundle = await rawBundle(modules)
  engine.load(signed({ ...bundle, meta: { ...bundle.meta, ...meta } }, 1))
  return engine
}

export const engineer: SubjectFacts = {
  claims: {},
  email: 'ada@example.com',
  groups: ['engineers'],
  groups_at_ms: now,
  id: 'sub_ada',
  issuer: 'https://issuer.example',
  kind: 'person',
  name: 'Ada',
  on_behalf_of: null,
  subject: 'ada',
  token: null,
}

export const shop: ResourceFacts = {
  address: '127.0.0.1:5455',
  labels: { class: 'customer-data', env: 'staging' },
  name: 'shop-db',
  protocol: 'postgres',
}

export function accessInput(change: Partial<Input<'access'>> = {}): Input<'access'> {
  return {
    client: { address: '192.0.2.7', application: 'psql', via: 'cli' },
    grant: null,
    request: { created_at_ms: now, duration_s: 1800, id: 'req_1', reason: 'an incident', ticket_ref: null },
    resource: shop,
    role: 'reader',
    roles: ['reader'],
    stage: 'request',
    subject: engineer,
    time: timeFacts(now, 'UTC'),
    votes: [],
    ...change,
  }
}

export function actionInput(change: Partial<Input<'action'>['action']> = {}, role = 'reader'): Input<'action'> {
  return {
    action: {
      facts: {},
      functions: [],
      kind: 'select',
      protocol: 'postgres',
      reads: [{ name: 'customers', schema: 'public' }],
      verb: 'read',
      writes: [],
      ...change,
    },
    resource: shop,
    role,
    subject: engineer,
  }
}

export function adminInput(call: string, subject: SubjectFacts = engineer, own = false): Input<'admin'> {
  return { call, own, subject, target: {}, time: timeFacts(now, 'UTC') }
}

/** Somebody of the approvers presses the button. */
export function approvalInput(): Input<'approve'> {
  const { request, resource, role } = accessInput()
  const approver = { ...engineer, groups: ['dbas'], id: 'sub_dba' }
  return {
    answer: 'approve',
    approvers: ['dbas'],
    request: request!,
    requester: engineer,
    resource,
    role,
    stage: 0,
    subject: approver,
    time: timeFacts(now, 'UTC'),
    via: 'web',
    votes: [],
  }
}
