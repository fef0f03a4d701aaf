import type { RidingProtocol } from '../../gateway/protocol.ts'
import { ActionSchema } from './actions.ts'
import { GitHandler } from './handler.ts'
import { GitMirrors } from './mirror/mirrors.ts'
import { Options } from './options.ts'
import { person } from './person.ts'
import { readings } from './reading.ts'

/** Git's pack protocol, as commands that another protocol carries. */
export const git: RidingProtocol = {
  ...person,
  options: Options,
  actionSchema: ActionSchema,
  capabilities: { mask: false, hold: true, input: false, terminal: false, browser: false },
  handler: ({ folder }) => new GitHandler(new GitMirrors(folder)),
  readings,
}
