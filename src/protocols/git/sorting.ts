import type { CommandChannel, Verdict } from '../../gateway/protocol.ts'
import type { PushAnswer } from './answer.ts'
import type { PushRequest } from './pack/commands.ts'
import type { Resolved } from './refs-of-push.ts'
import type { Update } from './updates.ts'

const atomicWords = {
  message: 'not done, since another ref of this atomic push is refused',
  detail: '',
  remedy: '',
} as const

/** Which refs of a push go on; its client is told of each of the others. INVARIANT: an atomic push goes on whole or not at all. */
export class Sorting {
  readonly #channel: CommandChannel
  readonly #answer: PushAnswer
  readonly #isAtomic: boolean

  constructor(channel: CommandChannel, answer: PushAnswer, { capabilities }: PushRequest) {
    this.#channel = channel
    this.#answer = answer
    this.#isAtomic = capabilities.has('atomic')
  }

  /** Without those that nobody may change, whatever policy says. */
  resolved({ updates, barred }: Resolved): readonly Update[] {
    for (const { asked, why } of barred) {
      this.#channel.opened.gate.refuse({ rule: 'git.ref', message: `${asked}: ${why}`, text: null })
      this.#answer.refuse(asked, { message: `refused by the gateway: ${why}`, detail: '', remedy: '' })
    }
    if (barred.length === 0 || !this.#isAtomic) return updates
    for (const { asked } of updates) this.#answer.refuse(asked, atomicWords)
    return []
  }

  /** `verdicts`: in the order of the updates. */
  judged(updates: readonly Update[], verdicts: readonly Verdict[]): readonly Update[] {
    const accepted = updates.filter((_, i) => verdicts[i]!.allowed)
    const goesOn = !this.#isAtomic || accepted.length === updates.length
    for (const [i, { asked }] of updates.entries()) {
      const verdict = verdicts[i]!
      if (!verdict.allowed) this.#answer.refuse(asked, verdict)
      else if (!goesOn) this.#answer.refuse(asked, atomicWords)
    }
    return goesOn ? accepted : []
  }
}
