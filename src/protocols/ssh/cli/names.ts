import { SallyportError } from '../../../errors.ts'
import type { CommandLine } from '../../../gateway/protocol.ts'
import { parsePublicKeyLine, publicKeyLine } from '../wire/public-key.ts'

export interface Server {
  readonly name: string
  readonly roles: readonly string[]
}

/** How policy spells resources and roles. INVARIANT: nothing else gets into a file that ssh reads: it could name a command. */
const wellNamed = /^[a-z][a-z0-9-]{0,62}$/

/** The servers that the person may ask for, with their roles. */
export async function serversOf(line: CommandLine): Promise<Server[]> {
  const { items } = await line.get<{
    items: { name: string; via: string; roles: { role: string }[] }[]
  }>('/api/resources')
  return items
    .filter(each => each.via === 'ssh' && wellNamed.test(each.name))
    .map(({ name, roles }) => ({ name, roles: roles.map(each => each.role).filter(role => wellNamed.test(role)) }))
}

/** @throws SallyportError for a resource that is reached in another way. */
export async function checkServer(line: CommandLine, resource: string): Promise<Server> {
  const servers = await serversOf(line)
  const found = servers.find(each => each.name === resource)
  if (found !== undefined) return found
  const names = servers.map(each => each.name).join(', ')
  throw new SallyportError('not_found', `there is no server '${resource}' that you may ask for`, {
    remedy: names === '' ? 'see `sallyport resources`' : `those are: ${names}`,
  })
}

/** What ssh calls a role of a server: `web-1` for the one that the person has, `web-1.root` for one of several. */
export function aliasOf(resource: string, role: string | undefined): string {
  const alias = role === undefined ? resource : `${resource}.${role}`
  if (wellNamed.test(resource) && (role === undefined || wellNamed.test(role))) return alias
  throw new SallyportError('bad_request', `'${alias}' is no name of a server and a role`)
}

export interface Published {
  readonly host: string
  readonly port: number
  readonly host_key: string
  readonly target_ca: string
}

/** Where the gateways are and what they say of themselves, read again as keys: a line could bring more than it says. */
export async function publishedBy(line: CommandLine): Promise<Published> {
  const { host, port, published } = await line.get<{
    host: string
    port: number
    published: Record<string, string>
  }>('/api/gateways/ssh')
  return {
    host: checkedHost(host),
    port,
    host_key: keyLine(published['host_key']),
    target_ca: `${keyLine(published['target_ca'])} sallyport`,
  }
}

export function checkedHost(host: string): string {
  if (/^[A-Za-z0-9_.:-]{1,255}$/.test(host)) return host
  throw new SallyportError('bad_config', 'the gateway says of itself that it is at an address that is none')
}

/** @throws where it is no public key. */
export function keyLine(text: string | undefined): string {
  return publicKeyLine(parsePublicKeyLine(text ?? '').blob)
}

export function knownHost(host: string, port: number, key: string): string {
  return `${port === 22 ? host : `[${host}]:${port}`} ${key}`
}
