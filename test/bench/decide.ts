import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import http from 'node:http'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { bundleDigest, packBundle } from '../../src/policy/bundle.ts'
import { Engine } from '../../src/policy/engine.ts'
import { compile } from '../../src/policy/gate.ts'
import type { Input } from '../../src/policy/points.ts'
import { readFolder } from '../../src/policy/repository/sources.ts'
import { signRevision } from '../../src/policy/signing.ts'

/**
 * The cost of a decision: `decide('action')` on the starter policies, not cached, fuel on, against an OPA server on
 * loopback with the same policies and inputs, in one run. Prints one JSON line for each figure.
 */
const root = resolve(import.meta.dirname, '../../policies')
const opa = process.env['OPA_BIN'] ?? join(homedir(), '.cache/sallyport/opa-1.22.0/opa')
const budgetUs = 50
const budgetRatio = 5

export async function benchDecide(questions = 20_000, asked = 2000): Promise<Figure[]> {
  const engine = await starterEngine()
  const inputs = Array.from({ length: questions }, (_, i) => question(i))
  for (const input of inputs.slice(0, 2000)) engine.decide('action', input)
  const ours = median(inputs.map(input => timed(() => void engine.decide('action', input))))
  const commands = inputs.map((_, i) => command(i))
  for (const input of commands.slice(0, 2000)) engine.decide('action', input)
  const ssh = median(commands.map(input => timed(() => void engine.decide('action', input))))
  const session_id = 'ses_bench'
  const same = inputs[0]!
  const cached = median(inputs.map(() => timed(() => void engine.decide('action', same, { session_id }))))
  const theirs = await opaServer(inputs.slice(0, asked))
  return [
    figure('median of an uncached decide()', ours, 'us', budgetUs, ours <= budgetUs),
    figure('median of an uncached decide() on a command of ssh', ssh, 'us', budgetUs, ssh <= budgetUs),
    figure('median of a cached decide()', cached, 'us', null, null),
    figure('median of an OPA server on loopback', theirs, 'us', null, null),
    figure('times faster than the OPA server', theirs / ours, 'x', budgetRatio, theirs / ours >= budgetRatio),
  ]
}

export interface Figure {
  readonly bench: 'decide'
  readonly figure: string
  readonly value: number
  readonly unit: string
  readonly budget: number | null
  readonly met: boolean | null
}

function figure(name: string, value: number, unit: string, budget: number | null, met: boolean | null): Figure {
  return { bench: 'decide', figure: name, value: Math.round(value * 100) / 100, unit, budget, met }
}

async function starterEngine(): Promise<Engine> {
  const { bundle } = await compile(readFolder(root), {
    opa,
    protocols: { checkResource: () => null, canMask: () => true },
  })
  const keys = generateKeyPairSync('ed25519')
  const facts = { generation: 1, commit: '0'.repeat(40), digest: bundleDigest(bundle) }
  const engine = new Engine({ key: keys.publicKey, now: () => Date.now(), zone: 'UTC', max_groups_age_s: 3600 })
  engine.load({
    ...facts,
    bundle: packBundle(bundle),
    signature: signRevision(facts, keys.privateKey),
    activated_at_ms: 0,
  })
  return engine
}

/** A join of two tables by a reader, different each time so that no cache of anybody's helps. */
function question(i: number): Input<'action'> {
  const relation = (name: string) => ({ name, schema: 'public' })
  return {
    action: {
      facts: { statement: `s${i}` },
      functions: [
        { name: 'count', schema: 'pg_catalog' },
        { name: 'lower', schema: 'pg_catalog' },
      ],
      kind: 'select',
      protocol: 'sample',
      reads: [relation('customers'), relation('orders')],
      verb: i % 10 === 9 ? 'write' : 'read',
      writes: i % 10 === 9 ? [relation('orders')] : [],
    },
    resource: {
      address: 'db.example.com:5432',
      labels: { class: 'customer-data', env: 'staging' },
      name: 'shop-db',
      protocol: 'sample',
    },
    role: 'reader',
    subject: {
      claims: { department: 'payments' },
      email: 'ada@example.com',
      groups: ['engineers', 'on-call', 'payments'],
      groups_at_ms: 1_795_000_000_000,
      id: 'sub_01jd0000000000000000000000',
      issuer: 'https://login.example.com',
      kind: 'person',
      name: 'Ada Example',
      on_behalf_of: null,
      subject: '00u1a2b3c4',
      token: null,
    },
  }
}

/** A command of an operator, with words as a person writes them. */
function command(i: number): Input<'action'> {
  const base = question(i)
  const argv = ['journalctl', '--unit', `app-${i}.service`, '--since', '-15 min', '--no-pager']
  const facts = { argv, command: argv.join(' '), program: 'journalctl', pty: false }
  const plain = { functions: [], reads: [], writes: [] }
  return {
    ...base,
    action: { ...base.action, ...plain, facts, kind: 'exec', protocol: 'ssh', verb: 'session' },
    resource: { ...base.resource, labels: { class: 'server', env: 'staging' }, name: 'web-1', protocol: 'ssh' },
    role: 'operator',
  }
}

/** The median time of a question to `opa run --server`, over one kept-alive connection. */
async function opaServer(inputs: readonly Input<'action'>[]): Promise<number> {
  const port = await freePort()
  const server = spawn(
    opa,
    ['run', '--server', '--addr', `127.0.0.1:${port}`, '--log-level', 'error', '--disable-telemetry', '-b', root],
    { stdio: 'ignore' },
  )
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  try {
    for (let tries = 0; !(await answers(port, agent)); tries++) {
      if (tries > 100) throw new Error('the OPA server does not start')
      await sleep(50)
    }
    const times: number[] = []
    for (const input of inputs) {
      const body = JSON.stringify({ input })
      const started = performance.now()
      await ask(port, agent, body)
      times.push((performance.now() - started) * 1000)
    }
    return median(times)
  } finally {
    agent.destroy()
    server.kill('SIGKILL')
  }
}

async function answers(port: number, agent: http.Agent): Promise<boolean> {
  return ask(port, agent, '{"input":{}}').then(
    text => text.includes('"effect"'),
    () => false,
  )
}

function ask(port: number, agent: http.Agent, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      host: '127.0.0.1',
      port,
      agent,
      method: 'POST',
      path: '/v1/data/sallyport/action/result',
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    }
    const request = http.request(options, response => {
      let text = ''
      response.setEncoding('utf8').on('data', chunk => (text += chunk))
      response.on('end', () => resolve(text))
    })
    request.on('error', reject)
    request.end(body)
  })
}

function freePort(): Promise<number> {
  return new Promise(resolve => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => resolve(port))
    })
  })
}

function timed(run: () => void): number {
  const started = performance.now()
  run()
  return (performance.now() - started) * 1000
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const line of await benchDecide()) console.log(JSON.stringify(line))
}
