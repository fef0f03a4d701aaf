import type { Api } from './deps.ts'
import { sendError } from './errors.ts'

/** Deeper than any body of ours; a walk that goes no further cannot be made to overflow. */
const maxDepth = 16

/**
 * Refuses text that neither the database (NUL) nor canonical JSON (half of a surrogate pair) can hold, before any route
 * sees it: what is the caller's fault is answered as such, and not as a fault of ours with an entry in the log.
 */
export function installTextCheck(app: Api): void {
  app.addHook('preValidation', async (request, reply) => {
    const wrong = [request.params, request.query, request.body].some(value => !isHoldable(value, 0))
    if (wrong) return sendError(reply, 'bad_request', 'the request holds a character that no text may hold')
    return undefined
  })
}

function isHoldable(value: unknown, depth: number): boolean {
  if (typeof value === 'string') return value.isWellFormed() && !value.includes('\0')
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return true
  if (depth === maxDepth) return false
  return Object.entries(value).every(([name, member]) => isHoldable(name, depth) && isHoldable(member, depth + 1))
}
