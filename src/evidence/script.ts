import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../db/package-root.ts'

/** The verifier that goes with each bundle; null where this build has none. */
export function verifyScript(): Buffer | null {
  const path = join(packageRoot(), 'dist/verifier/verify.mjs')
  return existsSync(path) ? readFileSync(path) : null
}
