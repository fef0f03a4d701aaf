import type { Protocol } from '../gateway/protocol.ts'
import { git } from './git/index.ts'
import { postgres } from './postgres/index.ts'
import { ssh } from './ssh/index.ts'

/** Every protocol of this build. A new one is its folder and a line here. */
export const allProtocols: readonly Protocol[] = [postgres, ssh, git]
