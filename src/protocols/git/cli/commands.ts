import type { ProtocolCommand } from '../../../gateway/protocol.ts'

/** What the command line learns from this protocol. */
export const commands: readonly ProtocolCommand[] = [
  {
    name: 'git restore',
    arguments: '<resource> <repository> [id]',
    summary: 'what force-pushes and deletions lost; with an id, a bundle that brings it back',
    options: [
      { flags: '-r, --role <role>', what: 'the role, where you have several' },
      { flags: '--to <file>', what: 'where the bundle goes; REPOSITORY-ID.bundle if it is left out' },
    ],
    run: async (line, words, options) => (await import('./restore.ts')).restore(line, words, options),
  },
]
