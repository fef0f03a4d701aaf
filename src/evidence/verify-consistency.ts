import { type Static, Type as T } from 'typebox'
import { verifyConsistency } from '../audit/merkle.ts'
import { openCheckpoint } from '../audit/note.ts'
import { SallyportError } from '../errors.ts'
import { faultsOf } from '../faults.ts'
import { failed, type ProofReport, type TrustedKeys, trustOf } from './verify.ts'
import { WitnessCheck } from './witnesses.ts'

/** Checks a file of `sallyport audit consistency`. Pure: no network, no server, no clock. */
const closed = { additionalProperties: false }
const Hash = T.String({ pattern: '^[A-Za-z0-9+/]{43}=$' })
const Point = T.Object(
  {
    size: T.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    root: Hash,
    checkpoint: T.Union([T.String({ maxLength: 8192 }), T.Null()]),
  },
  closed,
)
const ConsistencySchema = T.Object(
  {
    format: T.Literal('sallyport-consistency-v1'),
    from: Point,
    to: Point,
    consistency: T.Array(Hash, { maxItems: 128 }),
    vkey: T.String({ maxLength: 512 }),
    handovers: T.Optional(T.Array(T.String({ maxLength: 8192 }), { maxItems: 256 })),
  },
  closed,
)

export const isConsistencyFile = (file: unknown): boolean =>
  (file as { format?: unknown } | null)?.format === 'sallyport-consistency-v1'

export function verifyConsistencyFile(file: unknown, options: TrustedKeys = {}): ProofReport {
  const wrong = faultsOf(ConsistencySchema, file)
  if (wrong.length > 0) return failed([`this is no consistency file: ${wrong.slice(0, 5).join('; ')}`])
  const { from, to, consistency, ...keys } = file as Static<typeof ConsistencySchema>
  const trust = trustOf(keys, options.vkey)
  if (trust instanceof SallyportError) return failed([trust.message])
  const bytes = (hash: string) => Buffer.from(hash, 'base64')
  const path = consistency.map(bytes)
  if (!verifyConsistency(from.size, bytes(from.root), to.size, bytes(to.root), path))
    return failed([
      `the log of ${from.size} entries is not the beginning of the one of ${to.size}: a root or the path was changed`,
    ])
  const proved = [
    `the log of ${from.size} entries with the root ${from.root} is the beginning of the one of ${to.size} entries with the root ${to.root}: nothing in it was changed or removed`,
  ]
  const not_proved = ['that these roots are those of your log: compare the first with a checkpoint that you kept']
  const witnesses = new WitnessCheck(options.witnesses)
  for (const point of [from, to]) {
    if (point.checkpoint === null) {
      not_proved.push(`that anybody signed the log of ${point.size} entries`)
      continue
    }
    const signed = openCheckpoint(point.checkpoint, trust)
    if (signed?.size !== point.size || !signed.root.equals(bytes(point.root)))
      return failed([`the checkpoint for ${point.size} entries is not signed by ${trust.name}, or signs another root`])
    const wrong = witnesses.take(point.checkpoint, point.size)
    if (wrong !== undefined) return failed([wrong])
    proved.push(`${trust.name} signed the log of ${point.size} entries`)
  }
  witnesses.say(proved, not_proved)
  if (options.vkey === undefined)
    not_proved.unshift(
      `who signed: the key was taken from the file itself (${keys.vkey}); give the key that you know with --key`,
    )
  return { ok: true, proved, not_proved, problems: [] }
}
