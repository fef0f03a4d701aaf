import { generateKeyPairSync } from 'node:crypto'
import type { ListeningSide, Preparation } from '../../gateway/client.ts'
import { commands } from './cli/commands.ts'
import { client, through } from './client.ts'
import { privateKeyFile } from './wire/private-key.ts'
import { publicKeyBlob, publicKeyLine } from './wire/public-key.ts'

export const person: ListeningSide = {
  name: 'ssh',
  listener: { kind: 'tcp', defaultPort: 6422 },
  carries: 'commands',
  prepare,
  commands,
  client,
  through,
}

/** A key pair for one ticket. */
export function prepare(): Preparation {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return { offer: { public_key: publicKeyLine(publicKeyBlob(publicKey)) }, secret: privateKeyFile(privateKey) }
}
