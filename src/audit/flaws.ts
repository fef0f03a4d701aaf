/** What can be wrong with a log, each kind with its own name. */
export interface Flaw {
  readonly kind:
    | 'entry_missing'
    | 'entry_changed'
    | 'entries_swapped'
    | 'entry_moved'
    | 'entry_malformed'
    | 'columns_changed'
    | 'body_changed'
    | 'writer_gap'
    | 'writer_fork'
    | 'tile_wrong'
    | 'checkpoint_wrong'
    | 'checkpoint_unsigned'
    | 'log_truncated'
    | 'log_rewritten'
    | 'copy_unsigned'
    | 'copy_went_back'
    | 'copy_missing'
    | 'handover_wrong'
    | 'outside_unsigned'
  /** Index of the entry or size of the tree that it is about. */
  readonly at: number | null
  readonly event: string | null
  readonly message: string
}

export interface LogReport {
  readonly ok: boolean
  readonly size: number
  /** Hex root over all entries as they are. */
  readonly root: string
  readonly flaws: readonly Flaw[]
  /** More than `maxFlaws` were found; the first are listed. */
  readonly more: number
  /** Signed breaks (`sallyport audit resume`): the log went back here, and says so. */
  readonly breaks: readonly { abandoned: number; resumed: number; at_ms: number }[]
  /** The keys that sign the log, the first to the last, each with the size at which it was handed over. */
  readonly keys: readonly { vkey: string; until: number | null }[]
  /** Entries whose body was erased. */
  readonly erased: number
  /** Entries that wait for their index. */
  readonly waiting: number
  /** Checkpoints of the outside copy that fit. */
  readonly copied: number
  /** Outside places and the size of the checkpoint that fits; null where it does not, or a declared break gave it up. */
  readonly outside: readonly { place: string; size: number | null }[]
}

export const maxFlaws = 100

export class FlawList {
  readonly list: Flaw[] = []
  more = 0

  add(kind: Flaw['kind'], at: number | null, message: string, event: string | null = null): void {
    if (this.list.length < maxFlaws) this.list.push({ kind, at, event, message })
    else this.more++
  }

  /** Appends what another list found. */
  take(other: FlawList): void {
    for (const flaw of other.list) this.add(flaw.kind, flaw.at, flaw.message, flaw.event)
    this.more += other.more
  }
}
