import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { eq } from 'drizzle-orm'
import { Approvals } from '../../src/approvals/approvals.ts'
import type { Answered } from '../../src/approvals/ask.ts'
import type { ApprovalPorts } from '../../src/approvals/ports.ts'
import type { Refused } from '../../src/approvals/refusal.ts'
import { loadSubjects } from '../../src/approvals/subjects.ts'
import { auditInbox } from '../../src/audit/schema.ts'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { subjects } from '../../src/identity/schema.ts'
import { newId } from '../../src/ids.ts'
import { type Bundle, bundleDigest, packBundle } from '../../src/policy/bundle.ts'
import { Engine } from '../../src/policy/engine.ts'
import { compile } from '../../src/policy/gate.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { readFolder } from '../../src/policy/repository/sources.ts'
import { Resources } from '../../src/policy/resources.ts'
import { revisions } from '../../src/policy/schema.ts'
import { signRevision } from '../../src/policy/signing.ts'
import { acceptAll, opaPath } from '../policy/support.ts'
import { createTestDatabase } from '../support/database.ts'

const root = join(import.meta.dirname, '../../policies')
const keys = generateKeyPairSync('ed25519')

/** Changes one file of the starter policies, whose own tests are left out here: `test/policy` runs them. */
export type Edit = readonly [file: string, from: string, to: string]

const compiled = new Map<string, Promise<Bundle>>()

export function compileWith(...edits: Edit[]): Promise<Bundle> {
  const key = JSON.stringify(edits)
  const known = compiled.get(key) ?? compileEdited(edits)
  compiled.set(key, known)
  return known
}

async function compileEdited(edits: readonly Edit[]): Promise<Bundle> {
  const sources = new Map(readFolder(root))
  for (const path of sources.keys()) if (/_test\.rego$|^policy\.yaml$/.test(path)) sources.delete(path)
  for (const [file, from, to] of edits) {
    const text = sources.get(file)?.toString('utf8') ?? ''
    if (!text.includes(from)) throw new Error(`${file} does not hold ${JSON.stringify(from)}`)
    sources.set(file, Buffer.from(text.replaceAll(from, to)))
  }
  return (await compile(sources, { opa: opaPath(), protocols: acceptAll })).bundle
}

/** Real engine, real database: everything that approvals/ and sessions/ stand on. */
export async function createWorld(ports: ApprovalPorts = {}) {
  const test = await createTestDatabase()
  const side = await openSide(test.database)
  let generation = 0
  const sides = [side]

  async function activate(bundle: Bundle): Promise<void> {
    const facts = {
      generation: ++generation,
      commit: String(generation).repeat(40).slice(0, 40),
      digest: bundleDigest(bundle),
    }
    const signed = {
      ...facts,
      bundle: packBundle(bundle),
      signature: signRevision(facts, keys.privateKey),
      activated_at_ms: Date.now(),
    }
    await test.database.db.insert(revisions).values({
      ...facts,
      opa_version: bundle.opa,
      opts: bundle.opts,
      bundle: signed.bundle,
      rules: {},
      signature: signed.signature,
      author: 'test',
      subject_line: 'test',
    })
    for (const each of sides) each.engine.load(signed)
  }

  async function person(name: string, groups: string[], kind: 'person' | 'machine' = 'person'): Promise<SubjectFacts> {
    const id = newId('sub')
    await test.database.db.insert(subjects).values({ id, kind, issuer: 'https://idp.test', subject: id, name, groups })
    return await facts(id)
  }

  async function facts(id: string): Promise<SubjectFacts> {
    const found = (await loadSubjects(test.database.db, [id])).get(id)
    if (found === undefined) throw new Error(`no subject ${id}`)
    return found
  }

  async function setGroups(id: string, groups: string[]): Promise<void> {
    await test.database.db.update(subjects).set({ groups, groups_at: new Date() }).where(eq(subjects.id, id))
  }

  async function events(
    type?: string,
  ): Promise<{ type: string; session_id: string | null; body: Record<string, unknown> }[]> {
    const rows = await test.database.db.select().from(auditInbox).orderBy(auditInbox.at_ms, auditInbox.id)
    return rows
      .filter(row => type === undefined || row.type === type)
      .map(row => ({
        type: row.type,
        session_id: row.session_id,
        body: JSON.parse(row.body ?? '{}') as Record<string, unknown>,
      }))
  }

  /** Another process of this deployment, as the database user of its role. */
  async function otherProcess(role: 'control' | 'gateway') {
    const other = await openSide(openDatabase({ url: test.roleUrls[role], max: 4, application: role }))
    sides.push(other)
    return other
  }

  const approvals = new Approvals(side.ground, ports)
  const client = { address: '192.0.2.7', application: 'test' }
  function ask(
    subject: SubjectFacts,
    more: Partial<Parameters<Approvals['ask']>[0]> = {},
  ): Promise<Answered | Refused> {
    return approvals.ask({
      subject,
      resource: 'shop-db',
      role: 'reader',
      duration_s: 3600,
      reason: 'look into order 4711',
      ticket_ref: null,
      via: 'api',
      client,
      ...more,
    })
  }

  async function drop(): Promise<void> {
    for (const each of sides) await each.ground.decisionLog.close()
    for (const each of sides.slice(1)) await each.ground.database.close()
    await test.drop()
  }

  return {
    test,
    ...side,
    db: test.database.db,
    approvals,
    client,
    activate,
    person,
    facts,
    setGroups,
    events,
    otherProcess,
    ask,
    drop,
  }
}

export type World = Awaited<ReturnType<typeof createWorld>>

async function openSide(database: Database) {
  const process_id = newId('prc')
  const engine = new Engine({ key: keys.publicKey, now: () => Date.now(), zone: 'UTC', max_groups_age_s: 3600 })
  const decisionLog = new DecisionLog({ database, engine })
  const audit = createAuditWriter({ database, process_id })
  const resources = new Resources(engine)
  return { process_id, engine, resources, ground: { database, engine, decisionLog, audit, resources, zone: 'UTC' } }
}

/** What a call must have answered for the test to make sense. */
export function granted<T extends { readonly refused: boolean }>(answer: T): Exclude<T, { readonly refused: true }> {
  if (answer.refused) throw new Error(`refused: ${JSON.stringify(answer)}`)
  return answer as Exclude<T, { readonly refused: true }>
}

export function refused<T extends { readonly refused: boolean }>(answer: T): Extract<T, { readonly refused: true }> {
  if (!answer.refused) throw new Error(`not refused: ${JSON.stringify(answer)}`)
  return answer as Extract<T, { readonly refused: true }>
}
