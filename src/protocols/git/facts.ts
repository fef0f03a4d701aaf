import { type Static, Type as T } from 'typebox'

/** What is known of a push before it reaches the target, in the form in which policy is told of it. */

const closed = { additionalProperties: false }
const Text = T.String()
const Count = T.Integer()
const Nullable = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])
const Words = <const W extends readonly string[]>(words: W) =>
  T.Unsafe<W[number]>(T.Union(words.map(word => T.Literal(word))))

const Person = T.Object({ name: Text, email: Text }, closed)

/** `signer` is who the key belongs to, as the resource's `signers` say; null unless it is verified. */
const Signature = T.Object(
  { kind: Words(['ssh', 'openpgp', 'x509']), status: Words(['verified', 'unknown', 'bad']), signer: Nullable(Text) },
  closed,
)

const Commit = T.Object(
  {
    id: Text,
    parents: Count,
    author: Person,
    committer: Person,
    authored_at_ms: Count,
    committed_at_ms: Count,
    /** The first line of its message, cut. */
    subject: Text,
    signature: Nullable(Signature),
  },
  closed,
)

/** Against what the ref held before; against the nearest commits that the target has where it held nothing. */
const Path = T.Object(
  {
    path: Text,
    change: Words(['added', 'modified', 'deleted']),
    /** Of what it is now; of what it was where it is deleted. */
    type: Words(['file', 'executable', 'symlink', 'submodule']),
    /** Of what it is now. Null where the object is not known here. */
    bytes: Nullable(Count),
    /** Lines; null for binary files and where not both sides are known. */
    added: Nullable(Count),
    removed: Nullable(Count),
  },
  closed,
)

/** Never the secret itself. */
const Finding = T.Object({ detector: Text, path: Text, line: Count, commit: Text }, closed)

/** What of an update may be more than is told. */
export const lists = ['commits', 'lost', 'paths', 'secrets'] as const

const Tag = T.Object({ tagger: Nullable(Person), target: Text, signature: Nullable(Signature) }, closed)

export const UpdateFacts = T.Object(
  {
    ref: Text,
    /** Hexadecimal ids; null where there is nothing. */
    old: Nullable(Text),
    new: Nullable(Text),
    /** `force`: commits are lost, or a tag is replaced. `unknown`: what it was cannot be compared with what it becomes. */
    kind: Words(['create', 'delete', 'fast-forward', 'force', 'unknown']),
    /** New to the target, newest first, and how many there are in all. */
    commits: T.Array(Commit),
    commits_total: Count,
    /** Ids of commits that no ref of the target reaches any more, newest first, and how many there are. */
    lost: T.Array(Text),
    lost_total: Count,
    /** Whether the gateway keeps what is lost, with its files; null where nothing is. */
    kept: Nullable(T.Boolean()),
    paths: T.Array(Path),
    paths_total: Count,
    secrets: T.Array(Finding),
    /** The annotated tag that it becomes. */
    tag: Nullable(Tag),
    /** Of the new objects, the largest one. */
    largest_bytes: Count,
    /** The lists above that are not whole; `secrets`: not all of what comes was looked through for them. */
    cut: T.Array(Words(lists)),
  },
  closed,
)

export type UpdateFacts = Static<typeof UpdateFacts>
export type CommitFacts = Static<typeof Commit>
export type PathFacts = Static<typeof Path>
export type SecretFinding = Static<typeof Finding>
export type SignatureFacts = Nullable<Static<typeof Signature>>
type Nullable<X> = X | null

/** What a decision may hold in all (`policy/question.ts` takes 256 Ki characters): of one update, over all its lists. */
export const factBounds = { commits: 200, lost: 200, paths: 1_000, secrets: 50, subject: 120, text: 160_000 } as const
