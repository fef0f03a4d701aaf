import { type Static, Type as T } from 'typebox'
import type { Resource } from '../../gateway/protocol.ts'

const closed = { additionalProperties: false }

/** As the server has it: exactly these characters, no empty part, and no `.` or `..`. */
const Path = T.String({
  pattern: '^~?/?(?!\\.{1,2}(/|$))[A-Za-z0-9_.][A-Za-z0-9_.+-]*(/(?!\\.{1,2}(/|$))[A-Za-z0-9_.][A-Za-z0-9_.+-]*)*$',
  maxLength: 512,
  description: 'must be a path of letters, digits, `_ . + -` and single slashes, without `.` and `..`',
})
const Name = T.String({
  pattern: '^[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*$',
  maxLength: 200,
  description: 'must be a name as `team/app`: letters, digits, `_ . + -` and single slashes, without `.git` at the end',
})

/**
 * Faults of commits, tags and trees by which git's own names (git-fsck(1)) that programs of years ago made, that git reads nevertheless
 * and that harm nobody who fetches them. INVARIANT: no fault that names files or folders, or what a client does with them.
 */
export const oldFaults = [
  'badDate',
  'badDateOverflow',
  'badEmail',
  'badName',
  'badTimezone',
  'missingEmail',
  'missingNameBeforeEmail',
  'missingSpaceBeforeDate',
  'missingSpaceBeforeEmail',
  'zeroPaddedDate',
  'zeroPaddedFilemode',
] as const

export type OldFault = (typeof oldFaults)[number]

const OldFault = T.Unsafe<OldFault>(
  T.String({ pattern: `^(?:${oldFaults.join('|')})$`, description: `must be one of ${oldFaults.join(', ')}` }),
)

const RepositoryOptions = T.Object(
  {
    /** Where the server has it, as written in the command that it gets. */
    path: Path,
    /** Other names under which clients may ask for it. */
    also: T.Optional(T.Array(Name, { maxItems: 16 })),
    /** It holds the server's configuration (gitolite-admin): a push to it changes who may do what. */
    administration: T.Optional(T.Boolean()),
    /** Refs that are other names of refs: where the server cannot be asked. `{}` says that there are none besides HEAD. */
    symrefs: T.Optional(T.Record(T.String(), T.String())),
  },
  closed,
)

/** `options` of a resource, beside the carrier's. */
export const Options = T.Object(
  {
    /** canonical name → repository. What does not stand here cannot be reached. */
    repositories: T.Record(Name, RepositoryOptions, { minProperties: 1, maxProperties: 10_000 }),
    /** Namespaces in which refs may be changed. */
    namespaces: T.Optional(T.Array(T.String({ pattern: '^refs/([A-Za-z0-9_-]+/)+$' }), { minItems: 1, maxItems: 32 })),
    /** First words of the server's own commands (gitolite: `info`, `perms`): exec actions. Others are refused. */
    commands: T.Optional(T.Array(T.String({ pattern: '^[a-z][a-z0-9-]{0,30}$' }), { maxItems: 64 })),
    push: T.Optional(
      T.Object(
        {
          /** Whose signatures count: lines of an allowed_signers file (ssh-keygen(1)), and armoured OpenPGP keys. */
          signers: T.Optional(T.Array(T.String({ minLength: 1, maxLength: 4096 }), { maxItems: 1000 })),
          openpgp: T.Optional(T.Array(T.String({ minLength: 1, maxLength: 65_536 }), { maxItems: 100 })),
          /** Looks for secrets in what a push adds. */
          secrets: T.Optional(T.Boolean()),
          /** Old histories: faults that make no push refused. */
          fsck: T.Optional(T.Object({ ignore: T.Array(OldFault, { maxItems: 32 }) }, closed)),
          max_mib: T.Optional(T.Integer({ minimum: 1, maximum: 1_048_576 })),
        },
        closed,
      ),
    ),
  },
  closed,
)

export type Options = Static<typeof Options>

export function optionsOf(resource: Resource): Options {
  return resource.options as Options
}

/** What comes is looked through for secrets. */
export function isScanned(resource: Resource): boolean {
  return optionsOf(resource).push?.secrets === true
}

export const defaultNamespaces = ['refs/heads/', 'refs/tags/'] as const
