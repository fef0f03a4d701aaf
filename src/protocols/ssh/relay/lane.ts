import type { Gate } from '../../../gateway/protocol.ts'
import type { Transport } from '../transport.ts'

/** More than a person types or reads in a moment. */
const muchBytes = 8 * 1024
/** More messages than a sane peer sends at once; what is asked for is an event each. */
const muchMessages = 64

/**
 * One direction of a connection. INVARIANT: decide → record → forward. What one turn of the event loop reads is judged and
 * recorded as it comes, goes into the journal together, and only then goes on, in order.
 */
export class Lane {
  readonly #gate: Gate
  readonly #from: Transport
  readonly #to: Transport
  readonly #before: () => number
  readonly #failed: (error: Error) => void
  #acts: (() => void)[] = []
  #due = false
  #committing = false

  /** `before` records what was gathered in the turn. @returns how many bytes. */
  constructor(
    gate: Gate,
    way: { readonly from: Transport; readonly to: Transport },
    before: () => number,
    failed: (error: Error) => void,
  ) {
    this.#gate = gate
    this.#from = way.from
    this.#to = way.to
    this.#before = before
    this.#failed = failed
  }

  push(act: () => void): void {
    this.#acts.push(act)
    if (this.#due || this.#committing) return
    this.#due = true
    process.nextTick(() => this.#flush())
  }

  #flush(): void {
    this.#due = false
    const acts = this.#acts
    this.#acts = []
    const much = this.#before() >= muchBytes || acts.length >= muchMessages
    const committed = this.#gate.commit()
    if (typeof committed === 'boolean') {
      if (committed) this.#run(acts)
      if (much) this.#keepPace()
      return
    }
    // Strict recordings are on disk before anything goes on: nothing more is read of the sender until then.
    this.#committing = true
    this.#from.hold('journal')
    void committed.then(yes => {
      this.#committing = false
      if (yes) this.#run(acts)
      this.#from.release('journal')
      if (this.#acts.length > 0) this.#flush()
    })
  }

  /** What is recorded faster than it is shipped would fill the spool, and end every session of this worker. */
  #keepPace(): void {
    const behind = this.#gate.behind()
    if (behind === undefined) return
    this.#from.hold('behind')
    void behind.then(() => this.#from.release('behind'))
  }

  #run(acts: readonly (() => void)[]): void {
    try {
      this.#to.together(() => this.#from.together(() => acts.forEach(act => void act())))
    } catch (error) {
      this.#failed(error as Error)
    }
    if (this.#to.full(() => this.#from.release('full'))) this.#from.hold('full')
    // Our own answers go back to the sender, who may ask without end and read none of them.
    if (this.#from.full(() => this.#from.release('answers'))) this.#from.hold('answers')
  }
}
