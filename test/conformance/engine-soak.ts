import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { bundleDigest, packBundle } from '../../src/policy/bundle.ts'
import { Engine } from '../../src/policy/engine.ts'
import { compile } from '../../src/policy/gate.ts'
import { findOpa } from '../../src/policy/opa-binary.ts'
import type { Input } from '../../src/policy/points.ts'
import { readFolder } from '../../src/policy/repository/sources.ts'
import { signRevision } from '../../src/policy/signing.ts'
import { actionInput, engineer } from '../policy/support.ts'

/**
 * `npm run conformance -- engine-soak [--evaluations N]` (1,000,000): questions that are all different, every tenth of
 * them hostile, through one engine. Each answer is the right one, and memory does not climb once the first fifth is over.
 */
const after = process.argv.indexOf('--evaluations')
const evaluations = Number(after < 0 ? 1_000_000 : process.argv[after + 1])
const mostGrowthMiB = 16

async function starterEngine(): Promise<Engine> {
  const gate = { opa: await findOpa(), protocols: { checkResource: () => null, canMask: () => true } }
  const { bundle } = await compile(readFolder(join(import.meta.dirname, '../../policies')), gate)
  const keys = generateKeyPairSync('ed25519')
  const facts = { generation: 1, commit: '0'.repeat(40), digest: bundleDigest(bundle) }
  const engine = new Engine({ key: keys.publicKey, now: Date.now, zone: 'UTC', max_groups_age_s: 3600 })
  const signature = signRevision(facts, keys.privateKey)
  engine.load({ ...facts, bundle: packBundle(bundle), signature, activated_at_ms: 0 })
  return engine
}

const tooMany = Array.from({ length: 20_000 }, (_, n) => `a-group-of-many-${n}`)

/** A question and the effect that it must have; the hostile ones are of every kind that was thought of. */
function question(i: number): readonly [unknown, 'allow' | 'deny'] {
  const plain = actionInput({ facts: { i }, verb: i % 2 === 0 ? 'read' : 'write' })
  if (i % 10 !== 9)
    return [{ ...plain, subject: { ...engineer, id: `sub_${i % 1000}` } }, i % 2 === 0 ? 'allow' : 'deny']
  if (i % 1000 === 999) return [{ ...plain, subject: { ...engineer, groups: tooMany } }, 'deny']
  const hostile: readonly unknown[] = [
    null,
    { ...plain, action: { ...plain.action, kind: `\ud800${i}` } },
    { ...plain, action: { ...plain.action, facts: { n: 2 ** 53 + i } } },
    { ...plain, role: `${i}`.repeat(100) },
    JSON.parse(`{"__proto__": {"role": "admin"}, "i": ${i}}`),
  ]
  return [hostile[Math.floor(i / 10) % hostile.length], 'deny']
}

const mebibytes = () => {
  const { heapUsed, arrayBuffers, external } = process.memoryUsage()
  return (heapUsed + arrayBuffers + external) / 2 ** 20
}

const engine = await starterEngine()
let wrong = 0
const memory: number[] = []
const started = performance.now()
for (let i = 0; i < evaluations; i++) {
  const [input, effect] = question(i)
  const { decision, permit } = engine.decide('action', input as Input<'action'>, { session_id: `ses_${i % 500}` })
  if (decision.effect !== effect || (permit !== null) !== (effect === 'allow')) {
    if (++wrong <= 10) console.error(`question ${i}: ${decision.effect} (${decision.code}), and ${effect} is right`)
  }
  if (i % Math.ceil(evaluations / 100) === 0) {
    globalThis.gc?.()
    memory.push(mebibytes())
  }
}
const fifth = Math.floor(memory.length / 5)
const least = (from: number, to: number) => Math.min(...memory.slice(from, to))
const growth = least(4 * fifth, 5 * fifth) - least(fifth, 2 * fifth)
const seconds = (performance.now() - started) / 1000
const round = (value: number) => Math.round(value * 10) / 10
console.log(
  JSON.stringify({
    evaluations,
    wrong,
    seconds: round(seconds),
    first_MiB: round(memory[0]!),
    last_MiB: round(memory.at(-1)!),
    growth_MiB: round(growth),
  }),
)
const failures = [
  ...(wrong > 0 ? [`${wrong} wrong answers`] : []),
  ...(growth > mostGrowthMiB ? [`memory still climbs: ${round(growth)} MiB`] : []),
]
for (const failure of failures) console.error(failure)
console.log(`${2 - failures.length} passed, ${failures.length} failed`)
if (failures.length > 0) process.exitCode = 1
