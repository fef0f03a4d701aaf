import { rmSync } from 'node:fs'
import type { CommandLine } from '../../../gateway/protocol.ts'
import { client } from '../client.ts'
import { checkServer } from './names.ts'

/** OpenSSH with a ticket of its own, which goes when it ends. @returns its exit code. */
export async function runSsh(
  line: CommandLine,
  resource: string,
  args: readonly string[],
  { role }: { readonly role?: string },
): Promise<number> {
  await checkServer(line, resource)
  const ticket = await line.ticket(resource, { role })
  try {
    return await line.start(client(ticket, args))
  } finally {
    rmSync(ticket.folder, { recursive: true, force: true })
  }
}
