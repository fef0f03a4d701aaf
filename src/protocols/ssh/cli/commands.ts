import type { ProtocolCommand } from '../../../gateway/protocol.ts'

const role = { flags: '-r, --role <role>', what: 'the role, where you have several' }

/** What the command line learns from this protocol. Each loads its own code when it runs. */
export const commands: readonly ProtocolCommand[] = [
  {
    name: 'ssh',
    arguments: '<resource> [args...]',
    summary: 'a shell, or the command after --, on a server',
    options: [role],
    run: async (line, [resource, ...args], options) =>
      (await import('./run.ts')).runSsh(line, resource!, args, options),
  },
  {
    name: 'ssh harden',
    arguments: '[logins...]',
    summary:
      'print what a target puts into sshd_config, so that it trusts the gateways and, for these logins, them alone',
    options: [{ flags: '--script', what: 'as a script that root runs on the target' }],
    run: async (line, logins, options) => (await import('./harden.ts')).harden(line, logins, options),
  },
  {
    name: 'ssh-config',
    arguments: '',
    summary: 'make plain ssh, scp, sftp, rsync and ansible reach your servers by name',
    options: [
      { flags: '--print', what: 'print it, and write nothing' },
      { flags: '--install [file]', what: 'also put the Include line into ~/.ssh/config, or this file' },
    ],
    run: async (line, _none, options) => (await import('./config.ts')).sshConfig(line, options),
  },
  {
    name: 'ssh-ticket',
    arguments: '<resource>',
    summary: 'what ssh runs by itself: makes sure that there is a ticket that works',
    options: [role],
    run: async (line, [resource], options) => (await import('./ticket.ts')).sshTicket(line, resource!, options),
  },
]
