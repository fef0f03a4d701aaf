/** What the `decision_log` point writes where something was masked. */
export const maskedText = '[masked]'

/**
 * An input whose claims of the identity provider were not kept, with none in their place: then it has its shape again, and
 * can be judged by policies that read no claim. Of an input from which anything else is gone nothing can be said.
 * @returns undefined for such a one.
 */
export function withoutClaims(input: unknown, hidden: readonly string[]): unknown {
  if (hidden.length === 0) return input
  if (!hidden.every(path => claimsPath.test(path)) || typeof input !== 'object' || input === null) return undefined
  const restored: Record<string, unknown> = { ...input }
  for (const path of hidden) {
    const who = claimsPath.exec(path)![1]!
    const person = restored[who]
    if (typeof person === 'object' && person !== null) restored[who] = { ...person, claims: {} }
  }
  return restored
}

const claimsPath = /^\/input\/(subject|requester)\/claims$/
