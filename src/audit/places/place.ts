import type { CopyLine } from '../copy.ts'
import type { OutsidePoint } from '../verify-outside.ts'

/** What is carried outside: a signed checkpoint, with every break and handover that was ever signed. */
export interface Publication {
  readonly origin: string
  readonly size: number
  readonly root: Buffer
  /** C2SP signed note, with the cosignatures that it has. */
  readonly note: string
  readonly statements: readonly CopyLine[]
  /** Proves the log of `first` entries to be a beginning of this one: base64 hashes. */
  prove(first: number): Promise<string[]>
}

/** Somewhere outside that the deployment names. */
export interface Place {
  readonly name: string
  readonly kind: string
  /** How often something new is carried there, at most. */
  readonly every_ms: number
  /** A witness cosigns: it gets the newest checkpoint, and the others wait a little for what it says. */
  readonly cosigns?: boolean
  /** What lies there; null where nothing does yet. Left out where a place cannot be read. */
  latest?(signal: AbortSignal): Promise<OutsidePoint | null>
  /** Takes the publication. @returns the cosignature, of a witness. @throws Error that says why not. */
  publish(publication: Publication, signal: AbortSignal): Promise<string | undefined>
}
