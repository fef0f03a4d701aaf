/** Why a test does not go through the gateway as it does straight to a server, and that it is meant so. */
export interface Reason {
  readonly script: string
  /** Titles, exactly. */
  readonly tests: readonly string[]
  readonly why: string
}

export const reasons: readonly Reason[] = []
