import type { PersonSide } from '../gateway/client.ts'
import { person as git } from './git/person.ts'
import { person as postgres } from './postgres/person.ts'
import { person as ssh } from './ssh/person.ts'

/** Of every protocol of this build what the command line needs; `all.ts` has the rest. */
export const personSides: readonly PersonSide[] = [postgres, ssh, git]
