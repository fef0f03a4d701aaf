/** Why a test does not go through the gateway as it does straight to a server, and that it is meant so. */
export interface Reason {
  readonly script: string
  /** Titles, exactly. */
  readonly tests: readonly string[]
  readonly why: string
}

const notThere =
  'A deletion of a ref that is not there is refused. A server takes it, and deletes what somebody made under that name since, without a look at it: nobody would have judged that. The other refs of such a push go on.'
const shallow =
  'History is looked at whole. A push to a repository that is itself shallow is refused, and one that would make it so: what it changes cannot be known. Pushes from a shallow clone of a whole repository go on (t5538 1 and 2).'
const signed =
  'Signed pushes (`git push --signed`) are not offered: the commands inside of the signed text could not be taken apart, and a refused ref could not be left out. Signed commits and tags are what policies see.'
const names =
  'Names that git reads as something else are not written through the gateway: `HEAD` as the last part of a name, and a name whose last part looks like an object (GI7).'
const fsck =
  'Commits and trees that `git fsck` finds broken are refused, also where a server is told to take them (`receive.fsck.*`), unless its resource lets that fault be (`push.fsck.ignore`): these tests bring a commit without an address to a server that checks nothing first.'

/** INVARIANT: what stands here is decided, and the README of the protocol says the same; what is a fault of ours is mended instead. */
export const reasons: readonly Reason[] = [
  {
    script: 't5501-fetch-push-alternates.sh',
    tests: ['pushing into a repository with the same alternate'],
    why: 'What a server has of other repositories (`.have`) is not told to who pushes: a pack that stands upon it could not be judged. The push brings these objects along; the server keeps them twice where it keeps the pack whole (more than `receive.unpackLimit` objects).',
  },
  {
    script: 't5504-fetch-receive-strict.sh',
    tests: [
      'push with receive.fsck.skipList',
      'fetch with fetch.fsck.skipList',
      'push with receive.fsck.missingEmail=warn',
      'fetch with fetch.fsck.missingEmail=warn',
    ],
    why: fsck,
  },
  {
    script: 't5516-fetch-push.sh',
    tests: [
      'deletion of a non-existent ref is not fed to post-receive and post-update hooks',
      'deletion of a non-existent ref alone does trigger post-receive and post-update hooks',
      'mixed ref updates, deletes, invalid deletes trigger hooks with correct input',
    ],
    why: notThere,
  },
  {
    script: 't5516-fetch-push.sh',
    tests: ['push into aliased refs (inconsistent)'],
    why: 'Two names of one ref that a push would change to different objects are refused by the gateway before the server refuses them, in other words than it does.',
  },
  {
    script: 't5516-fetch-push.sh',
    tests: ['push with config push.useBitmaps'],
    why: 'Packs of a push are not thin (`no-thin`): a thin one stands upon files that the gateway does not have. The test looks at the option `--thin` of the client.',
  },
  { script: 't5527-fetch-odd-refs.sh', tests: ['push handles extremely long refname'], why: names },
  { script: 't5535-fetch-push-symref.sh', tests: ['push'], why: names },
  {
    script: 't5534-push-signed.sh',
    tests: ['ssh signed push sends push certificate', 'fail without key and heed user.signingkey ssh'],
    why: signed,
  },
  {
    script: 't5538-push-shallow.sh',
    tests: [
      'add new shallow root with receive.updateshallow on',
      'push from shallow to shallow',
      'push from full to shallow',
    ],
    why: shallow,
  },
  {
    script: 't5400-send-pack.sh',
    tests: ['receive-pack de-dupes .have lines'],
    why: 'What a server has of other repositories (`.have`) is not told to who pushes; the test looks for these lines.',
  },
  {
    script: 't5408-send-pack-stdin.sh',
    tests: ['cmdline refs written in order', '--stdin refs come after cmdline'],
    why: 'Two commands for one ref in one push are refused: servers do one of them.',
  },
  {
    script: 't5411-proc-receive-hook.sh',
    tests: [
      'git-push -f (builtin protocol)',
      'git-push -f (builtin protocol/porcelain)',
      'proc-receive: process all refs (builtin protocol)',
      'proc-receive: process all refs (builtin protocol/porcelain)',
      'proc-receive: create/delete branch, and delete tag (builtin protocol)',
    ],
    why: 'Who pushes reads in `remote:` lines what a forced push or a deletion lost, and how it comes back; the tests compare all lines.',
  },
]
