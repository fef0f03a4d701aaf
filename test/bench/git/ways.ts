import { through } from '../../../src/protocols/ssh/client.ts'
import type { Person } from '../../support/person.ts'
import type { System } from '../live/system.ts'
import { directWay, takeTicket } from '../ssh/ways.ts'

/** One way to the same repositories: what git starts in the place of ssh, and what stands before a path. */
export interface GitWay {
  readonly name: string
  readonly ssh: string
  url(repository: string): string
}

const quoted = (words: readonly string[]) => words.map(word => `'${word}'`).join(' ')

export function straight(system: System, folder: string, repositories: string): GitWay {
  const { options, host } = directWay(system, folder)
  return {
    name: 'direct',
    ssh: quoted(['ssh', ...options]),
    url: repository => `ssh://${host}${repositories}/${repository}.git`,
  }
}

/** Through the gateway, as `sallyport connect` would go. */
export async function gatewayWay(who: Person, folder: string, resource: string): Promise<GitWay> {
  const { ticket } = await takeTicket(who, folder, resource, 'writer')
  const words = through(ticket, resource)
  return { name: 'sallyport', ssh: quoted(words), url: repository => `${resource}:${repository}.git` }
}

/** What stands in resources/data.yaml: a git server behind the demo sshd. */
export function forgeEntry(system: System, repositories: string, names: readonly string[]): string {
  const { web } = system.dev
  if (web === undefined) throw new Error('this machine has no sshd')
  return `
bench-forge:
  protocol: git
  address: 127.0.0.1:${web.port}
  labels:
    env: staging
    class: repository
  options:
    carrier:
      host_keys:
        - ${web.hostKey}
      login: { reader: ${web.login}, writer: ${web.login}, admin: ${web.login} }
      auth: { kind: certificate }
    repositories:
${names.map(name => `      ${name}: { path: ${repositories}/${name}.git }`).join('\n')}
`
}
