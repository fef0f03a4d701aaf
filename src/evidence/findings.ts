const mostSaid = 100

/** What a report is gathered in: each step says in plain words what follows from it, what does not, and what is wrong. */
export class Findings {
  readonly proved: string[] = []
  readonly not_proved: string[] = []
  readonly flaws: string[] = []
  #more = 0

  /** Something that must hold. @returns whether it does. */
  demand(holds: boolean, proved: string, flaw: string): boolean {
    if (holds) this.proved.push(proved)
    else this.flaw(flaw)
    return holds
  }

  /** The first flaws are told one by one. */
  flaw(text: string): void {
    if (this.flaws.length < mostSaid) this.flaws.push(text)
    else this.#more++
  }

  report(): FindingsReport {
    const { proved, not_proved } = this
    const flaws = this.#more === 0 ? this.flaws : [...this.flaws, `… and ${this.#more} more`]
    return { ok: flaws.length === 0, proved, not_proved, flaws }
  }
}

export interface FindingsReport {
  readonly ok: boolean
  readonly proved: readonly string[]
  readonly not_proved: readonly string[]
  readonly flaws: readonly string[]
}
