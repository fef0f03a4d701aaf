/** A decision that is exported: its place, and its event as JSON on one line. */
export interface Placed {
  readonly seq: number
  readonly line: string
}

/** Where an export goes. What `send` has taken when it resolves is kept there. */
export interface Sink {
  readonly name: string
  /**
   * Takes decisions from the first on, as many as fit into one delivery, at least one.
   * @returns how many it took. @throws for a delivery that failed: the same ones are brought again.
   */
  send(decisions: readonly Placed[], signal: AbortSignal): Promise<number>
  /** Gives back what it holds open. It may be used again. */
  close?(): Promise<void>
}

/** How many of these lines stay within a number of characters; one that is longer goes alone. */
export function fitting(decisions: readonly Placed[], maxChars: number): number {
  let chars = 0
  for (const [i, { line }] of decisions.entries()) {
    chars += line.length + 1
    if (chars > maxChars && i > 0) return i
  }
  return decisions.length
}
