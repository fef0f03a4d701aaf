import type { Duplex, Readable } from 'node:stream'
import type { UpdateFacts } from './facts.ts'
import type { Repository } from './repositories.ts'

/**
 * Where a push waits until it is known and judged: the port that `mirror/` fills. INVARIANT: nothing of a pack has reached
 * the target while it lies here, and nothing of one that was dropped is left.
 */
export interface Mirrors {
  /** A place for one push. It rejects with a `PushFault` where there is no room for one more. */
  quarantine(repository: Repository, target: TargetSide, by: Pusher): Promise<Quarantine>
}

/** Whose push it is, for what is kept of it. */
export interface Pusher {
  readonly session_id: string
  readonly subject: string
}

/** The repository on the target, over the session's own connection and login. */
export interface TargetSide {
  /** The refs that the target advertised for this push, symrefs resolved. */
  readonly refs: ReadonlyMap<string, string>
  /** When it was asked for them, on this machine's clock. */
  readonly since_ms: number
  /** The object of its HEAD; null where HEAD names nothing yet, undefined where nobody said. */
  readonly head: string | null | undefined
  readonly object_format: 'sha1' | 'sha256'
  /** `git-upload-pack` on this repository over a second channel, in the newest protocol version that the target takes. */
  fetch(): Promise<Duplex>
}

/** As the client asks for it, `ref` being what it really changes. */
export interface RefUpdate {
  readonly ref: string
  /** Null where there is nothing. */
  readonly old: string | null
  readonly new: string | null
}

/** What an update takes off the target: commits that nothing reaches any more, or an annotated tag. */
export interface Kept {
  /** By which `sallyport git restore` brings it back. */
  readonly id: string
  readonly ref: string
  readonly old: string
  readonly new: string | null
  readonly commits: number
  /** Of the bundle with all of it; null where the gateway could not keep its files, and why. */
  readonly bytes: number | null
  readonly without: string | null
}

export interface Quarantine {
  /** The next piece of the pack. A promise: write on when it resolves. It rejects with a `PushFault`, as everything here does. */
  write(chunk: Buffer): Promise<void> | undefined
  /** The client will send nothing more. */
  end(): void
  /** Resolves when the pack is whole and its hash is right, with its length; what comes behind it is no pack. */
  readonly whole: Promise<{ readonly bytes: number; readonly objects: number }>
  /** Once it is whole; at once for a push of deletions alone, which has no pack. In the order of the updates. */
  judge(updates: readonly RefUpdate[]): Promise<readonly UpdateFacts[]>
  /** Before anything goes on, also of deletions alone: what these updates will lose is kept from now on. */
  preserve(accepted: readonly RefUpdate[]): Promise<readonly Kept[]>
  /**
   * What the target gets. `all`: nothing that the client asked for was refused, not even before it was judged, and the same
   * bytes go on; else a pack of what these need, so that no object of a refused update reaches the target.
   */
  pass(accepted: readonly RefUpdate[], all: boolean): Readable
  /** What the target took. The mirror keeps what was lost by it. */
  settled(taken: readonly RefUpdate[]): Promise<void>
  /** The push is over, however: nothing of it is left here. Idempotent. */
  drop(): Promise<void>
}

/** The push cannot be taken: its fault (`bad_pack`), a bound of ours (`too_large`), or ours (`not_ready`). The words are for its person. */
export class PushFault extends Error {
  readonly code: 'bad_pack' | 'too_large' | 'not_ready'
  readonly remedy: string

  constructor(code: PushFault['code'], message: string, remedy = '') {
    super(message)
    this.name = 'PushFault'
    this.code = code
    this.remedy = remedy
  }
}
