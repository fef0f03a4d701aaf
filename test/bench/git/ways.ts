import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import type { Resource } from '../../../src/gateway/protocol.ts'
import { through } from '../../../src/protocols/ssh/client.ts'
import { prepare } from '../../../src/protocols/ssh/tickets.ts'
import { Secret } from '../../../src/secret.ts'
import type { Person } from '../../support/person.ts'
import type { System } from '../live/system.ts'
import { directWay } from '../ssh/ways.ts'

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
  const { offer, secret } = prepare()
  const { status, body } = await who.post('/api/tickets', { resource, role: 'writer', offer })
  if (status !== 201) throw new Error(`no ticket: ${JSON.stringify(body)}`)
  const answer = body as unknown as {
    id: string
    secret: string
    host: string
    port: number
    resource: Resource
    role: string
    credential: Record<string, string>
    published: Record<string, string>
  }
  const words = through(
    {
      ...answer,
      secret: new Secret(answer.secret),
      prepared: secret,
      ca_file: '',
      expires_at_ms: 0,
      folder: mkdtempSync(join(folder, 'ticket-')),
    },
    resource,
  )
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
