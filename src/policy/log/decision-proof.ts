import { eq } from 'drizzle-orm'
import { type Static, Type as T } from 'typebox'
import { inclusionProof, leafHash } from '../../audit/merkle.ts'
import { type ProofFile, prove } from '../../audit/prove.ts'
import type { Database } from '../../db/database.ts'
import { SallyportError } from '../../errors.ts'
import { actionDecisions, decisions, revisions } from '../schema.ts'
import { batchLeaves } from './batch-leaves.ts'
import { decisionLeaf } from './decision-leaf.ts'
import { getDecision, type StoredDecision } from './decision-store.ts'

const Nullable = T.Union([T.String(), T.Null()])
const Whole = T.Union([T.Integer(), T.Null()])
const Pointers = T.Array(T.String(), { maxItems: 1000 })
const Hash = T.String({ pattern: '^[A-Za-z0-9+/]{43}=$' })
const open = { additionalProperties: true } // a newer server may say more

/** What it takes to compute a decision again, in one file: `sallyport verify-decision` reads it from the server or a disk. */
export const DecisionProofSchema = T.Object(
  {
    format: T.Literal('sallyport-decision-v1'),
    decision: T.Object(
      {
        id: T.String({ maxLength: 64 }),
        at_ms: T.Integer(),
        point: T.String({ maxLength: 64 }),
        effect: T.String({ maxLength: 16 }),
        code: T.String({ maxLength: 64 }),
        generation: Whole,
        commit: Nullable,
        digest: Nullable,
        input_digest: T.String({ maxLength: 64 }),
        input: T.String({ maxLength: 1 << 20 }),
        result: T.String({ maxLength: 8 << 20 }),
        reasons: T.Array(
          T.Object({
            rule: T.String(),
            message: T.String(),
            remedy: T.Optional(T.String()),
            at: T.Optional(T.String()),
          }),
          { maxItems: 10_000 },
        ),
        subject_id: Nullable,
        resource: Nullable,
        session_id: Nullable,
        request_id: Nullable,
        erased: Pointers,
        masked: Pointers,
      },
      open,
    ),
    /** The revision that decided, as control signed it; null where none was in force. */
    revision: T.Union([
      T.Object(
        {
          generation: T.Integer(),
          commit: T.String(),
          digest: T.String(),
          opa_version: T.String({ maxLength: 64 }),
          opts: T.Integer(),
          ends_at_ms: T.Optional(T.Integer()), // of a recovery
          signature: T.String({ maxLength: 128 }), // base64
        },
        open,
      ),
      T.Null(),
    ]),
    /** The decision's place below the root that an event of the audit log carries. */
    batch: T.Union([
      T.Object(
        { index: T.Integer(), size: T.Integer(), path: T.Array(Hash, { maxItems: 64 }), event: T.Unknown() },
        open,
      ),
      T.Null(),
    ]),
    /** Why `batch` is null. */
    unproved: Nullable,
  },
  open,
)

export type DecisionProof = Static<typeof DecisionProofSchema>

/** @throws SallyportError `not_found`. */
export async function proveDecision(database: Database, vkey: string, id: string): Promise<DecisionProof> {
  const row = await getDecision(database.db, id)
  if (row === undefined)
    throw new SallyportError('not_found', `there is no decision ${id}`, { remedy: 'look at `sallyport decisions`' })
  const { batch: event, count: _, ...decision } = row
  const { generation, commit, digest, opa_version, opts, signature, ends_at } = revisions
  const [revision] =
    row.generation === null
      ? []
      : await database.db
          .select({ generation, commit, digest, opa_version, opts, signature, ends_at })
          .from(revisions)
          .where(eq(generation, row.generation))
  const covered = event === null ? 'it waits for its place in the audit log' : await batchOf(database, vkey, row, event)
  return {
    format: 'sallyport-decision-v1',
    decision,
    revision: revision === undefined ? null : shownRevision(revision),
    batch: typeof covered === 'string' ? null : covered,
    unproved: typeof covered === 'string' ? covered : null,
  }
}

function shownRevision({ ends_at, signature, ...facts }: Signed): NonNullable<DecisionProof['revision']> {
  const end = ends_at === null ? {} : { ends_at_ms: ends_at.getTime() }
  return { ...facts, ...end, signature: signature.toString('base64') }
}

type Signed = Pick<
  typeof revisions.$inferSelect,
  'generation' | 'commit' | 'digest' | 'opa_version' | 'opts' | 'signature' | 'ends_at'
>

async function batchOf(
  database: Database,
  vkey: string,
  of: StoredDecision,
  event: string,
): Promise<NonNullable<DecisionProof['batch']> | string> {
  const { hashes, read } = await batchLeaves(database.db, of.point === 'action' ? actionDecisions : decisions, event)
  let proof: ProofFile
  try {
    proof = await prove(database, vkey, event)
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'not_ready') return error.message
    throw error
  }
  const size = (JSON.parse(proof.body ?? '{}') as { count?: number }).count
  if (hashes.length !== size)
    return 'other decisions of its batch were deleted before their hashes were kept, and without them there is no path to the root'
  const leaf = leafHash(decisionLeaf(of))
  // A row that was changed since has no place: its path leads to no root, and whoever verifies it says so.
  const index = Math.max(
    0,
    hashes.findIndex(hash => hash.equals(leaf)),
  )
  const path = await inclusionProof(index, size, read)
  return { index, size, path: path.map(hash => hash.toString('base64')), event: proof }
}
