import type { RidingSide } from '../../gateway/client.ts'
import { commands } from './cli/commands.ts'
import { client } from './client.ts'

export const person: RidingSide = {
  name: 'git',
  listener: { kind: 'rides-on', carried: 'commands' },
  commands,
  client,
}
