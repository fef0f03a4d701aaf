import { type Static, Type as T } from 'typebox'
import { chainOf, openHandover } from '../audit/handover.ts'
import { bodyHash, parseLeaf } from '../audit/leaf.ts'
import { leafHash, verifyInclusion } from '../audit/merkle.ts'
import { handedOverAt, type KeyChain, openCheckpoint, parseVkey } from '../audit/note.ts'
import { SallyportError } from '../errors.ts'
import { faultsOf } from '../faults.ts'
import { endedKey } from './verify-words.ts'
import { WitnessCheck } from './witnesses.ts'

/** Checks a proof file with nothing but the file and a key. Pure: no network, no server, no clock. */
const nullableText = T.Union([T.String({ maxLength: 131_072 }), T.Null()])
const ProofFileSchema = T.Object(
  {
    format: T.Literal('sallyport-proof-v1'),
    leaf: T.String({ maxLength: 4096 }),
    body: nullableText,
    salt: nullableText,
    index: T.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    checkpoint: T.String({ maxLength: 8192 }),
    inclusion: T.Array(T.String({ pattern: '^[A-Za-z0-9+/]{43}=$' }), { maxItems: 64 }),
    vkey: T.String({ maxLength: 512 }),
    handovers: T.Optional(T.Array(T.String({ maxLength: 8192 }), { maxItems: 256 })),
  },
  { additionalProperties: false },
)

/** Keys from sources that the reader trusts. */
export interface TrustedKeys {
  /** The log's; without it the key in the file is used, and the report says so. */
  readonly vkey?: string | undefined
  /** Of witnesses. */
  readonly witnesses?: readonly string[] | undefined
}

export interface ProofReport {
  readonly ok: boolean
  /** What follows from the file, in plain words. */
  readonly proved: readonly string[]
  /** What does not follow from it, in plain words. */
  readonly not_proved: readonly string[]
  /** Why the file proves nothing; empty when `ok`. */
  readonly problems: readonly string[]
}

/**
 * @param file the parsed JSON of a proof file.
 */
export function verifyProof(file: unknown, options: TrustedKeys = {}): ProofReport {
  const wrong = faultsOf(ProofFileSchema, file)
  if (wrong.length > 0) return failed([`this is no proof file: ${wrong.slice(0, 5).join('; ')}`])
  const proof = file as Static<typeof ProofFileSchema>

  const verifier = trustOf(proof, options.vkey)
  if (verifier instanceof SallyportError) return failed([verifier.message])
  const checkpoint = openCheckpoint(proof.checkpoint, verifier)
  if (!checkpoint) {
    const foreign = options.vkey !== undefined && options.vkey.trim() !== proof.vkey
    return failed([
      `the checkpoint is not signed by ${verifier.name}${foreign ? '; the file names another key than you gave' : ''}`,
    ])
  }
  const leaf = parseLeaf(proof.leaf)
  if (!leaf) return failed(['the leaf is not a canonical leaf of version 1'])
  const path = proof.inclusion.map(hash => Buffer.from(hash, 'base64'))
  if (!verifyInclusion(leafHash(proof.leaf), proof.index, checkpoint.size, path, checkpoint.root)) {
    return failed([
      `the leaf is not entry ${proof.index} of the log that the checkpoint signs: leaf, index or path was changed`,
    ])
  }
  if ((proof.body === null) !== (proof.salt === null))
    return failed(['body and salt must both be there or both be missing'])
  if (
    proof.body !== null &&
    proof.salt !== null &&
    bodyHash(Buffer.from(proof.salt, 'hex'), proof.body) !== leaf.body_hash
  ) {
    return failed(['the body is not the one that the leaf names: it was changed'])
  }

  const when = new Date(leaf.at_ms).toISOString()
  const proved = [
    `${checkpoint.origin} signed a log of ${checkpoint.size} entries, and entry ${proof.index} of it is an event "${leaf.type}" of ${when} (database time)`,
    `it is event ${leaf.wseq} of the writer ${leaf.writer}`,
  ]
  if (options.vkey !== undefined && verifier.links.length > 1)
    proved.push(`the key that you gave leads to the one that signed, by handovers that both keys of each signed`)
  const witnesses = new WitnessCheck(options.witnesses)
  const unwitnessed = witnesses.take(proof.checkpoint, checkpoint.size)
  if (unwitnessed !== undefined) return failed([unwitnessed])
  if (proof.body !== null) proved.push('the body is exactly the one recorded then')
  const notProved = [
    'that the log shown to you is the one shown to others: compare the checkpoint with a copy kept outside',
    'that what the event says is true: only that it was recorded so',
  ]
  const ended = handedOverAt(proof.checkpoint, verifier)
  if (ended !== null) notProved.push(endedKey(ended))
  witnesses.say(proved, notProved)
  if (proof.body === null) notProved.unshift('what the event said: its body was erased')
  if (options.vkey === undefined) {
    notProved.unshift(
      `who signed: the key was taken from the file itself (${proof.vkey}); give the key that you know with --key`,
    )
  }
  return { ok: true, proved, not_proved: notProved, problems: [] }
}

/** The keys that a file may be signed with: the one that the reader trusts, and those that it leads to. */
export function trustOf(
  file: { readonly vkey: string; readonly handovers?: readonly string[] },
  given: string | undefined,
): KeyChain | SallyportError {
  try {
    const handovers = (file.handovers ?? []).flatMap(note => openHandover(note) ?? [])
    return chainOf(handovers, parseVkey(given ?? file.vkey))
  } catch (error) {
    if (error instanceof SallyportError) return error
    throw error
  }
}

export function failed(problems: string[]): ProofReport {
  return { ok: false, proved: [], not_proved: ['anything at all'], problems }
}
