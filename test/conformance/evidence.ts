import { verifyBundle } from '../../src/evidence/verify-bundle.ts'
import { pieces } from '../evidence/archives.ts'
import { evidenceWorld } from '../evidence/world.ts'

/**
 * `npm run conformance -- evidence [EVERY]`: every EVERY-th byte of a bundle (13; 1 for each, which takes an hour and a
 * half) is changed by one bit, and the bundle cut off before it: each must be a flaw, and nothing be said to be proved. A slice of it is in `test/evidence/tampering.test.ts`.
 */
const every = Number(process.argv[2] ?? 13)
const world = await evidenceWorld()
try {
  const { session } = await world.recorded('a short reason')
  const withheld = async (call: string) =>
    call !== 'policy.sources' || 'they are large, and their bytes are only hashed'
  const bytes = await world.bundle({ session }, { asked: { may: withheld } })
  const key = world.sequencer.vkey
  const whole = await verifyBundle(pieces(bytes), { vkey: key })
  if (!whole.ok) throw new Error(`the bundle does not verify: ${whole.flaws.join('; ')}`)
  const began = performance.now()
  let [tried, missed] = [0, 0]
  for (let at = 0; at < bytes.length; at += every) {
    const changed = Buffer.from(bytes)
    changed[at]! ^= 1 << (at % 8)
    const flipped = await verifyBundle(pieces(changed, 1 << 20), { vkey: key })
    const cut = await verifyBundle(pieces(bytes.subarray(0, at), 1 << 20), { vkey: key })
    for (const [what, report] of [
      ['changed', flipped],
      ['cut off', cut],
    ] as const) {
      tried++
      if (!report.ok && report.proved.length === 0) continue
      missed++
      console.log(`FAIL  byte ${at} ${what}: ${JSON.stringify(report.proved.slice(0, 3))}`)
    }
    if ((at / every) % 5000 === 0)
      console.error(`· ${at} of ${bytes.length} bytes, ${Math.round((performance.now() - began) / 1000)} s`)
  }
  console.log(
    `${missed === 0 ? 'ok  ' : 'FAIL'}  ${tried} changed or cut bundles of ${bytes.length} bytes, ${missed} verified`,
  )
  process.exitCode = missed === 0 ? 0 : 1
} finally {
  await world.close()
}
