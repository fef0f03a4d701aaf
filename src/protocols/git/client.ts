import type { ClientCommand, IssuedTicket } from '../../gateway/protocol.ts'
import type { Options } from './options.ts'

/** What takes a URL as the first word that is no option. */
const takesUrl = new Set(['clone', 'ls-remote', 'fetch', 'pull', 'push'])

/** git, whose ssh is the carrier's for this ticket. The resource's name is a host to it: `NAME:team/app.git`. */
export function client(ticket: IssuedTicket, args: readonly string[], through: readonly string[]): ClientCommand {
  const { name } = ticket.resource
  const ssh = through.map(quoted).join(' ')
  const [first] = Object.keys(repositoriesOf(ticket))
  return {
    argv: ['git', ...withUrl(ticket, args)],
    env: { GIT_SSH_COMMAND: ssh, GIT_SSH_VARIANT: 'ssh', GIT_SSH: undefined, SSH_AUTH_SOCK: undefined },
    print: [
      { label: 'ssh', value: ssh },
      { label: 'clone', value: `GIT_SSH_COMMAND=${quoted(ssh)} git clone ${name}:${first}.git` },
    ],
  }
}

/** `clone team/app` means the repository of that name here; anything else is git's. */
function withUrl(ticket: IssuedTicket, args: readonly string[]): readonly string[] {
  const known = new Set(Object.keys(repositoriesOf(ticket)))
  const at = takesUrl.has(args[0] ?? '') ? args.findIndex(each => known.has(each.replace(/\.git$/, ''))) : -1
  return at < 0
    ? args
    : args.map((each, i) => (i === at ? `${ticket.resource.name}:${each.replace(/\.git$/, '')}.git` : each))
}

const repositoriesOf = ({ resource }: IssuedTicket) => (resource.options as Options).repositories

/** One word for the shell that git starts. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
