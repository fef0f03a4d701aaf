import type { Quarantine } from './push.ts'

/** The pack of a push on its way into quarantine: in order, also what comes while the place for it is being made. */
export class IncomingPack {
  #made: (quarantine: Quarantine) => void = () => {}
  /** Settles when there is one: what comes before waits. */
  readonly #place = new Promise<Quarantine>(resolve => {
    this.#made = resolve
  })
  #quarantine: Quarantine | undefined
  #written: Promise<void> = Promise.resolve()
  #isBegun = false
  #isEnded = false

  get isBegun(): boolean {
    return this.#isBegun
  }

  /** The client sends nothing more. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  /** It takes the pack: all that came before there was one lies in it. */
  get isInPlace(): boolean {
    return this.#quarantine !== undefined
  }

  /** What goes wrong in quarantine is told by who waits for the whole. */
  write(bytes: Buffer): undefined | Promise<void> {
    this.#isBegun = true
    if (this.#quarantine !== undefined) return this.#quarantine.write(bytes)?.catch(() => {})
    this.#written = this.#written.then(async () => (await this.#place).write(bytes)).catch(() => {})
    return this.#written
  }

  end(): undefined {
    this.#isEnded = true
    void this.#written.then(() => this.#quarantine?.end())
  }

  async into(quarantine: Quarantine): Promise<void> {
    this.#made(quarantine)
    for (let last: Promise<void> | undefined; last !== this.#written; ) await (last = this.#written)
    this.#quarantine = quarantine
    if (this.#isEnded) quarantine.end()
  }

  async drop(): Promise<void> {
    await this.#quarantine?.drop()
  }
}
