import type { ListeningProtocol } from '../../gateway/protocol.ts'
import { accept } from './accept.ts'
import { ActionSchema } from './actions.ts'
import { checkLibrary, nativeCrypto, ssh2Version } from './inside.ts'
import { publish } from './keys.ts'
import { lease } from './lease.ts'
import { Options } from './options.ts'
import { person } from './person.ts'
import { credential, Offer, verifiers } from './tickets.ts'

/** SSH 2.0: shells, commands, files. */
export const ssh: ListeningProtocol = {
  ...person,
  options: Options,
  actionSchema: ActionSchema,
  capabilities: { mask: false, hold: true, input: true, terminal: true, browser: false },
  offer: Offer,
  verifiers,
  credential,
  check,
  publish,
  accept,
  lease,
}

/** ssh2 falls back to JavaScript without a word where its ciphers could not be compiled. */
function check(): Record<string, string> {
  checkLibrary()
  return {
    library: `ssh2 ${ssh2Version}`,
    ciphers: nativeCrypto() ? 'compiled' : 'in JavaScript: half the speed; run `npm rebuild ssh2`',
  }
}
