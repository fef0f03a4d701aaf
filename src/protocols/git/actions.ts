import { type Static, Type as T } from 'typebox'
import { actionOf, actionSchemaOf } from '../../gateway/action-facts.ts'
import type { ActionFacts } from '../../policy/points.ts'
import { UpdateFacts } from './facts.ts'

const closed = { additionalProperties: false }
const Text = T.String()
const Nullable = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])

/** What policy is told of each kind of action, as `input.action.facts`. `repository` is always the canonical name. */
export const facts = {
  /** A client begins to talk with a repository, and sees the names of its refs. */
  open: T.Object({ repository: Text, service: Text }, closed),
  /** `objects`: ids that it wants and no ref is known for; a partial clone fetches what it needs so. */
  fetch: T.Object(
    {
      repository: Text,
      refs: T.Array(Text),
      refs_total: T.Integer(),
      objects: T.Array(Text),
      objects_total: T.Integer(),
      /** Of a shallow clone: how many commits deep; 0 where it is cut in another way. */
      depth: Nullable(T.Integer()),
      /** Of a partial clone. */
      filter: Nullable(Text),
    },
    closed,
  ),
  archive: T.Object({ repository: Text, tree: Text, paths: T.Array(Text), format: Text }, closed),
  /** One for each ref. `asked` is the name that the client used, where that is a symref to `ref`. */
  push: T.Object(
    {
      repository: Text,
      administration: T.Boolean(),
      asked: Text,
      atomic: T.Boolean(),
      options: T.Array(Text),
      pack_bytes: T.Integer(),
      /** The resource wants what comes looked through for secrets: where `cut` names `secrets`, not all of it was. */
      scanned: T.Boolean(),
      ...UpdateFacts.properties,
    },
    closed,
  ),
  /** Large files: `operation` is upload or download; `program` hands out a credential of another server, or carries them itself. */
  lfs: T.Object({ repository: Text, operation: Text, program: Text }, closed),
  /** What force-pushes and deletions lost: of one ref it is sent, else all of it is listed. */
  restore: T.Object({ repository: Text, ref: Nullable(Text), old: Nullable(Text) }, closed),
  /** The server's own commands. */
  exec: T.Object({ program: Text, argv: T.Array(Text) }, closed),
} as const

export type Kind = keyof typeof facts
export type Verb = ActionFacts['verb']
export type PushAction = Static<typeof facts.push>

export const ActionSchema = actionSchemaOf('git', facts)

export const action = actionOf('git', facts)

/** What takes something away, or changes who may do what, is more than writing. */
export function verbOf({ kind }: Pick<UpdateFacts, 'kind'>, administration: boolean): Verb {
  return kind === 'create' || kind === 'fast-forward' ? (administration ? 'admin' : 'write') : 'admin'
}
