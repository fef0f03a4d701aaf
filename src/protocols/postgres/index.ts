import type { ListeningProtocol } from '../../gateway/protocol.ts'
import { ActionFacts } from '../../policy/points.ts'
import type { Secret } from '../../secret.ts'
import { accept } from './accept.ts'
import { client } from './client.ts'
import { lease } from './lease.ts'
import { Options } from './options.ts'
import { formatVerifier, makeVerifier } from './scram.ts'

/** PostgreSQL's wire protocol, version 3.0. */
export const postgres: ListeningProtocol = {
  name: 'postgres',
  options: Options,
  actionSchema: ActionFacts,
  capabilities: { mask: true, hold: true, input: false, terminal: false, browser: false },
  listener: { kind: 'tcp', defaultPort: 6432 },
  verifiers: (secret: Secret) => ({ scram: formatVerifier(makeVerifier(secret)) }),
  accept,
  lease,
  client,
}
