import { once } from 'node:events'
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { bytesOfFiles } from '../../src/policy/impact/blocks.ts'
import { computeImpact } from '../../src/policy/impact/impact.ts'
import { type Candidate, compileCandidate } from '../../src/policy/impact/revision.ts'
import { readFolder } from '../../src/policy/repository/sources.ts'
import { figure } from './live/figure.ts'

/**
 * `npm run bench -- impact [--inputs N]` (1,000,000): distinct recorded statements of 500 people on 40 resources, judged
 * under the starter policies and under a commit that adds a rule, on two threads. The log is a file, as an export is.
 */
const after = (name: string) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined)
const inputs = Number(after('--inputs') ?? 1_000_000)
const threads = 2
const budgetSeconds = 60
const budgetMiB = 512

const opa = process.env['OPA_BIN'] ?? join(homedir(), '.cache/sallyport/opa-1.22.0/opa')
const gate = { opa, protocols: { checkResource: () => null, canMask: () => true } }
const rule = `
# METADATA
# title: Nobody reads the orders of a quarter that is closed
# custom: { rule: action.no-orders }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "the orders are closed"} if {
	some relation in input.action.reads
	relation.name == "orders"
	input.resource.name == "shop-5"
}
`

function line(i: number): string {
  const person = i % 500
  const relation = (name: string) => ({ name, schema: 'public' })
  const input = {
    action: {
      facts: { template: `t${i}` },
      functions: [{ name: 'count', schema: 'pg_catalog' }],
      kind: 'select',
      protocol: 'postgres',
      reads: [relation('customers'), relation(i % 5 === 0 ? 'orders' : `table_${i % 97}`)],
      verb: i % 10 === 9 ? 'write' : 'read',
      writes: [],
    },
    resource: {
      address: 'db.example.com:5432',
      labels: { class: 'customer-data', env: 'staging' },
      name: `shop-${i % 40}`,
      protocol: 'postgres',
    },
    role: i % 3 === 0 ? 'writer' : 'reader',
    subject: {
      claims: { department: 'payments' },
      email: `person-${person}@example.com`,
      groups: ['engineers', 'on-call', 'payments'],
      groups_at_ms: 1_795_000_000_000,
      id: `sub_${String(person).padStart(26, '0')}`,
      issuer: 'https://login.example.com',
      kind: 'person',
      name: `Person ${person}`,
      on_behalf_of: null,
      subject: `00u${person}`,
      token: null,
    },
  }
  return JSON.stringify({
    labels: { app: 'sallyport', id: 'bench', version: '0.1.0' },
    decision_id: `dec_${String(i).padStart(26, '0')}`,
    bundles: { sallyport: { revision: '0'.repeat(40) } },
    path: 'sallyport/action/result',
    input,
    result: { effect: 'allow', reasons: [] },
    requested_by: input.subject.id,
    timestamp: new Date(1_795_000_000_000 + i).toISOString(),
  })
}

async function writeLog(path: string): Promise<void> {
  const file = createWriteStream(path)
  for (let at = 0; at < inputs; at += 1000) {
    const lines = Array.from({ length: Math.min(1000, inputs - at) }, (_, i) => line(at + i))
    if (!file.write(lines.join('\n') + '\n')) await once(file, 'drain')
  }
  await new Promise<void>(resolve => file.end(() => resolve()))
}

function rssMiB(): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) / 1024
}

async function candidates(): Promise<[Candidate, Candidate]> {
  const sources = readFolder(resolve(import.meta.dirname, '../../policies'))
  const action = `${sources.get('action/action.rego')!.toString('utf8')}${rule}`
  const changed = new Map([...sources, ['action/action.rego', Buffer.from(action)] as const])
  return [
    await compileCandidate({ name: 'base', commit: '1'.repeat(40) }, sources, gate),
    await compileCandidate({ name: 'head', commit: '2'.repeat(40) }, changed, gate),
  ]
}

const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
try {
  const path = join(folder, 'decisions.jsonl')
  await writeLog(path)
  const [base, head] = await candidates()
  const memory: number[] = []
  const watching = new AbortController()
  const watch = (async () => {
    while (!watching.signal.aborted) {
      memory.push(rssMiB())
      await sleep(200, undefined, { signal: watching.signal }).catch(() => {})
    }
  })()
  const started = performance.now()
  const report = await computeImpact({ base, head, log: bytesOfFiles([path]), threads })
  const seconds = (performance.now() - started) / 1000
  watching.abort()
  await watch
  const expected = Math.ceil((inputs - 5) / 40)
  if (report.judged !== inputs || report.changes.denied !== expected || report.same !== inputs - expected)
    throw new Error(`the report is wrong: ${JSON.stringify({ ...report, groups: report.groups.length })}`)
  const third = Math.ceil(memory.length / 3)
  const growth = Math.max(...memory.slice(-third)) - Math.max(...memory.slice(third, 2 * third))
  figure('impact', 'log', statSync(path).size / 2 ** 20, 'MiB')
  figure('impact', `${inputs} distinct inputs under two revisions`, seconds, 's')
  figure('impact', 'a million of them', (seconds / inputs) * 1_000_000, 's', { most: budgetSeconds })
  figure('impact', 'inputs a second', inputs / seconds, '1/s')
  figure('impact', 'most memory of the process', Math.max(...memory), 'MiB', { most: budgetMiB })
  figure('impact', 'growth from the second third to the last', growth, 'MiB')
} finally {
  rmSync(folder, { recursive: true, force: true })
}
