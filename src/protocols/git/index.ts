import type { RidingProtocol } from '../../gateway/protocol.ts'
import { ActionSchema } from './actions.ts'
import { commands } from './cli/commands.ts'
import { client } from './client.ts'
import { GitHandler } from './handler.ts'
import { GitMirrors } from './mirror/mirrors.ts'
import { Options } from './options.ts'
import { readings } from './reading.ts'

/** Git's pack protocol, as commands that another protocol carries. */
export const git: RidingProtocol = {
  name: 'git',
  options: Options,
  actionSchema: ActionSchema,
  capabilities: { mask: false, hold: true, input: false, terminal: false, browser: false },
  listener: { kind: 'rides-on', carried: 'commands' },
  handler: ({ folder }) => new GitHandler(new GitMirrors(folder)),
  readings,
  commands,
  client,
}
