import type { ListeningProtocol } from '../../gateway/protocol.ts'
import { ActionFacts } from '../../policy/points.ts'
import type { Secret } from '../../secret.ts'
import { accept } from './accept.ts'
import { lease } from './lease.ts'
import { Options } from './options.ts'
import { person } from './person.ts'
import { formatVerifier, makeVerifier } from './scram.ts'

/** PostgreSQL's wire protocol, version 3.0. */
export const postgres: ListeningProtocol = {
  ...person,
  options: Options,
  actionSchema: ActionFacts,
  capabilities: { mask: true, hold: true, input: false, terminal: false, browser: false },
  verifiers: (secret: Secret) => ({ scram: formatVerifier(makeVerifier(secret)) }),
  accept,
  lease,
}
