import type { ProtocolCommand } from '../../../gateway/protocol.ts'

const role = { flags: '-r, --role <role>', what: 'the role, where you have several' }

/** What the command line learns from this protocol. */
export const commands: readonly ProtocolCommand[] = [
  {
    name: 'git lost',
    arguments: '<resource> [repository] [id]',
    summary: 'what force-pushes and deletions took off the server; with an id, all that is known of one of them',
    options: [role],
    run: async (line, words, options) => (await import('./lost.ts')).lost(line, words, options),
  },
  {
    name: 'git restore',
    arguments: '<resource> <repository> [id]',
    summary: 'brings back what was lost: as a branch of the server, or as a bundle; without an id, lists it',
    options: [
      role,
      { flags: '--branch <name>', what: 'push it as this new branch, as any push: policy decides' },
      { flags: '--to <file>', what: 'where the bundle goes; REPOSITORY-ID.bundle if it is left out' },
    ],
    run: async (line, words, options) => (await import('./restore.ts')).restore(line, words, options),
  },
]
