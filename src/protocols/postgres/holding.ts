import type { Gate, Hold, Verdict, Waits } from '../../gateway/protocol.ts'
import type { ActionFacts } from '../../policy/points.ts'
import { errorResponse } from './messages.ts'

/** What a message was judged as: an approval is for this and nothing else. */
export interface Held {
  readonly actions: readonly ActionFacts[]
  readonly text: string
  /** The values bound, where they may be shown. */
  readonly parameters: readonly (string | null)[] | null
  /** How many values of them are not shown whole. */
  readonly unread: number
  /** Masking hides the values. */
  readonly hidden: boolean
}

/**
 * The one message of a connection that waits for an approval. It is not answered, nothing behind it is read, and when the
 * answer is there the same bytes are judged anew.
 * INVARIANT: an answer is used once, by the message that waited and only if it still means what was approved.
 */
export class Holding {
  readonly #gate: Gate
  /** Tells the person how it stands. */
  say: (line: string) => void = () => {}
  #hold: Hold | null = null
  #answer: { readonly key: string; readonly verdict: Verdict } | null = null
  #cancelled = false

  constructor(gate: Gate) {
    this.#gate = gate
  }

  get waits(): boolean {
    return this.#hold !== null
  }

  /** As the gate judges, but for what was answered meanwhile. A promise: it waits; judge it again then. */
  judge(
    held: Held,
    record: Parameters<Gate['judge']>[1],
    options: { readonly prepares: boolean; readonly under: Verdict | undefined },
  ): Verdict | Promise<unknown> {
    const key = JSON.stringify([held.actions, held.text, held.parameters])
    const answer = this.#answer
    this.#answer = null
    if (answer !== null && answer.key === key) return answer.verdict
    const verdict = this.#gate.judge(held.actions, record, waitsOf(held, options))
    const { held: hold } = verdict
    if (hold === undefined) return verdict
    this.#hold = hold
    this.#cancelled = false
    hold.onProgress(line => this.say(line))
    return hold.settled.then(settled => {
      this.#hold = null
      this.#answer = { key, verdict: settled }
    })
  }

  /** The person pressed Ctrl-C. */
  cancel(): void {
    if (this.#hold === null) return
    this.#cancelled = true
    this.#hold.withdraw('it was cancelled by who sent it')
  }

  /** Nobody waits for an answer any more. */
  withdraw(reason: string): void {
    this.#hold?.withdraw(reason)
  }

  /** What waited was read again, whatever became of it: its answer is good for nothing more. */
  forget(): void {
    this.#answer = null
  }

  /** What the person reads in their own client when it does not run. */
  denial(verdict: Verdict): Buffer {
    const cancelled = this.#cancelled
    this.#cancelled = false
    if (cancelled) return errorResponse('ERROR', '57014', 'canceling statement due to user request', verdict.detail)
    return errorResponse('ERROR', '42501', verdict.message, verdict.detail, verdict.remedy)
  }
}

function waitsOf(held: Held, options: { readonly prepares: boolean; readonly under: Verdict | undefined }): Waits {
  return {
    title: [...new Set(held.actions.map(titleOf))].join(', '),
    ...(options.prepares ? { prepares: true as const } : {}),
    under: options.under,
    shown: () => {
      const relations = (of: (action: ActionFacts) => ActionFacts['reads']) => [
        ...new Set(held.actions.flatMap(of).map(nameOf)),
      ]
      const parts = [
        { label: 'Writes', lines: relations(action => action.writes) },
        { label: 'Reads', lines: relations(action => action.reads) },
        {
          label: 'Parameters',
          lines: (held.parameters ?? []).map((value, i) => `$${i + 1} = ${value ?? 'NULL'}`),
          more: held.unread,
          whole: true as const,
        },
        {
          label: 'Note',
          lines: held.hidden ? ['values in it are hidden, because masking covers what it touches'] : [],
        },
      ]
      return parts.filter(({ lines }) => lines.length > 0)
    },
  }
}

const nameOf = ({ schema, name }: { readonly schema: string; readonly name: string }) =>
  schema === '' ? name : `${schema}.${name}`

function titleOf({ kind, writes, reads }: ActionFacts): string {
  const on = (writes.length > 0 ? writes : reads).map(nameOf)
  return on.length === 0 ? kind : `${kind} on ${on.slice(0, 3).join(', ')}${on.length > 3 ? ', …' : ''}`
}
