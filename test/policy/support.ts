import { homedir } from 'node:os'
import { join } from 'node:path'
import type { ProtocolCheck } from '../../src/policy/gate.ts'

/** The `opa` command of the tests. */
export function opaPath(): string {
  return process.env['OPA_BIN'] ?? join(homedir(), '.cache/sallyport/opa-1.22.0/opa')
}

/** Protocols as the gate sees them where a test is about something else. */
export const acceptAll: ProtocolCheck = { checkResource: () => null, canMask: () => true }
