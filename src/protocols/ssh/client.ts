import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClientCommand, IssuedTicket } from '../../gateway/protocol.ts'

/** OpenSSH with the ticket's key and certificate in files of their own, and the gateway's host key pinned. */
export function client(ticket: IssuedTicket, args: readonly string[]): ClientCommand {
  const files = writeFiles(ticket)
  const place = ticket.port === 22 ? ticket.host : `[${ticket.host}]:${ticket.port}`
  return {
    argv: ['ssh', ...files.options.flatMap(option => ['-o', option]), '-p', String(ticket.port), ticket.host, ...args],
    env: { SSH_AUTH_SOCK: undefined },
    print: [
      { label: 'host', value: ticket.host },
      { label: 'port', value: String(ticket.port) },
      { label: 'user', value: ticket.id },
      { label: 'password', value: ticket.secret.reveal() },
      { label: 'known_hosts', value: `${place} ${ticket.published['host_key'] ?? ''}` },
      ...files.print,
    ],
  }
}

function writeFiles(ticket: IssuedTicket) {
  const { folder, prepared, credential, published, id, host, port } = ticket
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const place = port === 22 ? host : `[${host}]:${port}`
  const known = write('known_hosts', `${place} ${published['host_key'] ?? ''}\n`)
  const options = [
    `User=${id}`,
    `UserKnownHostsFile=${known}`,
    'GlobalKnownHostsFile=/dev/null',
    'StrictHostKeyChecking=yes',
    'IdentitiesOnly=yes',
  ]
  if (prepared === null) return { options, print: [] }
  const key = write('key', prepared.reveal())
  const certificate = write('key-cert.pub', `${credential['certificate'] ?? ''}\n`)
  return {
    options: [...options, `IdentityFile=${key}`, `CertificateFile=${certificate}`],
    print: [
      { label: 'key', value: key },
      { label: 'certificate', value: certificate },
    ],
  }
}
