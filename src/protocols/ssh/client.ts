import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClientCommand, IssuedTicket } from '../../gateway/protocol.ts'

/** OpenSSH with the ticket's key and certificate in files of their own, and the gateway's host key pinned. */
export function client(ticket: IssuedTicket, args: readonly string[]): ClientCommand {
  const { known_hosts, key, certificate } = writeFiles(ticket)
  const options = [
    `User=${ticket.id}`,
    `UserKnownHostsFile=${known_hosts}`,
    'GlobalKnownHostsFile=/dev/null',
    'StrictHostKeyChecking=yes',
    'IdentitiesOnly=yes',
    ...(key === undefined ? [] : [`IdentityFile=${key}`, `CertificateFile=${certificate}`]),
  ]
  return {
    argv: ['ssh', ...options.flatMap(option => ['-o', option]), '-p', String(ticket.port), ticket.host, ...args],
    env: { SSH_AUTH_SOCK: undefined },
    print: [
      { label: 'host', value: ticket.host },
      { label: 'port', value: String(ticket.port) },
      { label: 'user', value: ticket.id },
      { label: 'password', value: ticket.secret.reveal() },
      { label: 'known_hosts', value: `${place(ticket.host, ticket.port)} ${ticket.published['host_key'] ?? ''}` },
      ...(key === undefined ? [] : [{ label: 'key', value: key }]),
      ...(certificate === undefined ? [] : [{ label: 'certificate', value: certificate }]),
    ],
  }
}

/** For programs that start ssh themselves and name the resource as a host: its settings first, the person's own for other hosts. */
export function through(ticket: IssuedTicket, name: string): readonly string[] {
  const { known_hosts, key, certificate } = writeFiles(ticket)
  const settings = [
    `Host ${name}`,
    `  HostName ${ticket.host}`,
    `  Port ${ticket.port}`,
    `  User ${ticket.id}`,
    `  UserKnownHostsFile "${known_hosts}"`,
    '  GlobalKnownHostsFile /dev/null',
    '  StrictHostKeyChecking yes',
    '  UpdateHostKeys no',
    '  IdentitiesOnly yes',
    '  IdentityAgent none',
    '  ProxyCommand none',
    ...(key === undefined ? [] : [`  IdentityFile "${key}"`, `  CertificateFile "${certificate}"`]),
    '',
    'Match all',
    '  Include ~/.ssh/config',
  ]
  const file = join(ticket.folder, 'config')
  writeFileSync(file, `${settings.join('\n')}\n`, { mode: 0o600 })
  return ['ssh', '-F', file]
}

export interface ClientFiles {
  readonly known_hosts: string
  /** Absent where the ticket came without an offer: its secret is the proof then. */
  readonly key?: string
  readonly certificate?: string
}

/** What OpenSSH reads of a ticket, in the ticket's own folder. */
export function writeFiles({ folder, prepared, credential, published, host, port }: IssuedTicket): ClientFiles {
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const known_hosts = write('known_hosts', `${place(host, port)} ${published['host_key'] ?? ''}\n`)
  if (prepared === null) return { known_hosts }
  const key = write('key', prepared.reveal())
  return { known_hosts, key, certificate: write('key-cert.pub', `${credential['certificate'] ?? ''}\n`) }
}

function place(host: string, port: number): string {
  return port === 22 ? host : `[${host}]:${port}`
}
