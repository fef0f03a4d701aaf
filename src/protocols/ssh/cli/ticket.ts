import { readFileSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { SallyportError } from '../../../errors.ts'
import type { CommandLine, IssuedTicket } from '../../../gateway/protocol.ts'
import { type ClientFiles, writeFiles } from '../client.ts'
import { parseCertificate } from '../wire/certificate.ts'
import { aliasOf, checkedHost } from './names.ts'
import { quoted, Store } from './store.ts'

/** A ticket whose certificate ends within this is not given to a client any more. */
const spare_s = 5
/** For so long the clients that one program starts in a row take it that a ticket works. The gateway looks every time. */
const fresh_s = 5

/**
 * Run by ssh itself before it connects (`Match … exec`): when it returns 0, the alias's settings file names a ticket that
 * works. One that still does is used again.
 */
export async function sshTicket(
  line: CommandLine,
  resource: string,
  { role }: { readonly role?: string },
): Promise<number> {
  const alias = aliasOf(resource, role)
  const store = new Store(line.folder, line.profile)
  if (!(await works(line, store, alias))) await renew(line, store, resource, role)
  store.write(store.fresh(alias), `${Math.floor(Date.now() / 1000) + fresh_s}\n`)
  return 0
}

async function renew(line: CommandLine, store: Store, resource: string, role: string | undefined): Promise<void> {
  const alias = aliasOf(resource, role)
  await store.locked(alias, async () => {
    if (await works(line, store, alias)) return
    const ticket = await issue(line, resource, role)
    const old = keyOf(store.read(alias))
    store.write(store.settings(alias), settingsFor(ticket, writeFiles(ticket)))
    if (old !== undefined) forget(line, old)
  })
}

async function issue(line: CommandLine, resource: string, role: string | undefined): Promise<IssuedTicket> {
  try {
    return await line.ticket(resource, { role })
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'bad_request' || role !== undefined) throw error
    throw new SallyportError(error.code, error.message, { remedy: `name one of them: ssh ${resource}.ROLE` })
  }
}

/** The certificate is still good, and control says that the ticket still opens something. */
async function works(line: CommandLine, store: Store, alias: string): Promise<boolean> {
  const settings = store.read(alias)
  const key = keyOf(settings)
  const id = /^# (tkt_\w+)$/m.exec(settings ?? '')?.[1]
  if (key === undefined || id === undefined) return false
  try {
    const [, blob = ''] = readFileSync(`${key}-cert.pub`, 'utf8').split(' ')
    const { valid_before_s } = parseCertificate(Buffer.from(blob, 'base64'))
    if (Number(valid_before_s) < Date.now() / 1000 + spare_s) return false
  } catch {
    return false // a half-written or deleted file: a new ticket mends it
  }
  return (await line.get<{ open: boolean }>(`/api/tickets/${id}`)).open
}

function keyOf(settings: string | undefined): string | undefined {
  return /^IdentityFile "(.+)"$/m.exec(settings ?? '')?.[1]?.replaceAll('%%', '%')
}

function settingsFor(ticket: IssuedTicket, files: ClientFiles): string {
  if (!/^tkt_\w+$/.test(ticket.id) || files.key === undefined || files.certificate === undefined)
    throw new SallyportError('internal', 'the ticket brought no certificate')
  return `# ${ticket.id}
HostName ${checkedHost(ticket.host)}
Port ${ticket.port}
User ${ticket.id}
IdentityFile ${quoted(files.key)}
CertificateFile ${quoted(files.certificate)}
UserKnownHostsFile ${quoted(files.known_hosts)}
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
UpdateHostKeys no
IdentitiesOnly yes
IdentityAgent none
ProxyCommand none
`
}

/** The files of a ticket that opens nothing any more. Only what `ticket` made is removed. */
function forget(line: CommandLine, key: string): void {
  const folder = dirname(key)
  if (dirname(folder) !== join(line.folder, 'tickets') || !basename(folder).startsWith('ticket-')) return
  rmSync(folder, { recursive: true, force: true })
}
