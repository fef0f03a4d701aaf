import type { ListeningProtocol } from '../../gateway/protocol.ts'
import { accept } from './accept.ts'
import { ActionSchema } from './actions.ts'
import { commands } from './cli/commands.ts'
import { client, through } from './client.ts'
import { checkLibrary, nativeCrypto, ssh2Version } from './inside.ts'
import { publish } from './keys.ts'
import { lease } from './lease.ts'
import { Options } from './options.ts'
import { credential, Offer, prepare, verifiers } from './tickets.ts'

/** SSH 2.0: shells, commands, files. */
export const ssh: ListeningProtocol = {
  name: 'ssh',
  options: Options,
  actionSchema: ActionSchema,
  capabilities: { mask: false, hold: true, input: true, terminal: true, browser: false },
  listener: { kind: 'tcp', defaultPort: 6422 },
  carries: 'commands',
  offer: Offer,
  verifiers,
  credential,
  check,
  publish,
  prepare,
  commands,
  accept,
  lease,
  client,
  through,
}

/** ssh2 falls back to JavaScript without a word where its ciphers could not be compiled. */
function check(): Record<string, string> {
  checkLibrary()
  return {
    library: `ssh2 ${ssh2Version}`,
    ciphers: nativeCrypto() ? 'compiled' : 'in JavaScript: half the speed; run `npm rebuild ssh2`',
  }
}
