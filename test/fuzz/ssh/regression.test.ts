import { keptInputs } from '../kept.ts'
import { targets } from './targets.ts'

keptInputs('ssh', targets)
