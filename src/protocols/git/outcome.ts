import type { CommandChannel } from '../../gateway/protocol.ts'
import type { UpdateFacts } from './facts.ts'
import type { Kept } from './push.ts'
import type { Repository } from './repositories.ts'
import { lostLines } from './say.ts'
import type { Update } from './updates.ts'

/** What became of a push, in its recording: what the server did of each ref, and what that took off it. */
export class Outcome {
  readonly #channel: CommandChannel
  readonly #repository: Repository
  /** By ref: what it loses when the server does it. */
  readonly #losing = new Map<string, { readonly kept: Kept; readonly facts: UpdateFacts | undefined }>()

  constructor(channel: CommandChannel, repository: Repository) {
    this.#channel = channel
    this.#repository = repository
  }

  /** What will be lost by it, and what of that the gateway keeps. */
  keeps(kept: readonly Kept[], facts: readonly UpdateFacts[]): undefined {
    for (const each of kept)
      this.#losing.set(each.ref, { kept: each, facts: facts.find(({ ref }) => ref === each.ref) })
  }

  /** `why` it was not done; null where it was, undefined where the server did not say. @returns what the person reads of it. */
  record({ asked, ref, old, new: next }: Update, why: string | null | undefined): readonly string[] {
    this.#channel.opened.gate.record('git_ref', {
      channel: this.#channel.id,
      repository: this.#repository.name,
      ref,
      ...(asked === ref ? {} : { asked }),
      old,
      new: next,
      done: why === null,
      ...(why === null ? {} : { why: why ?? 'the server did not say what it did' }),
    })
    // Where the server said no, nothing is lost; where it said nothing, it may be.
    if (typeof why === 'string') return []
    const losing = this.#losing.get(ref)
    this.#losing.delete(ref) // a ref may be told under two names
    if (losing === undefined) return []
    this.#lost(losing, why === null)
    return why === null ? lostLines(this.#channel.opened.resource.name, this.#repository.name, losing.kept) : []
  }

  #lost({ kept, facts }: { readonly kept: Kept; readonly facts: UpdateFacts | undefined }, isDone: boolean): undefined {
    const { opened, id: channel } = this.#channel
    const { id, ref, old, commits, bytes, without } = kept
    opened.gate.record('git_lost', {
      channel,
      resource: opened.resource.name,
      repository: this.#repository.name,
      ref,
      old,
      done: isDone,
      lost: facts?.lost ?? [],
      lost_total: commits,
      kept: without === null,
      ...(without === null ? { id, bytes } : { why: without }),
    })
  }
}
