import { cosignedAt, parseWitness, type Witness } from '../audit/cosignature.ts'

/** Signatures of others than the log on its notes. Pure. */
export interface Signature {
  readonly name: string
  readonly line: string
}

/** The signature lines that are not of the log itself, whose name is the note's first line. */
export function signaturesBeside(note: string): Signature[] {
  const origin = note.slice(0, note.indexOf('\n'))
  const lines = note.slice(note.lastIndexOf('\n\n') + 2).split('\n')
  return lines.flatMap(line => {
    const name = /^— ([^\s+]+) /u.exec(line)?.[1]
    return name === undefined || name === origin ? [] : [{ name, line }]
  })
}

/** What witnesses say of the notes of one log, held against the keys that the reader has of them. */
export class WitnessCheck {
  readonly #witnesses: readonly Witness[]
  readonly #good = new Map<Witness, { readonly size: number; readonly at_s: number }>()
  readonly #unknown = new Set<string>()

  /** @throws SallyportError `bad_config` for a text that is no key of a witness. */
  constructor(vkeys: readonly string[] = []) {
    this.#witnesses = vkeys.map(parseWitness)
  }

  /** @returns a flaw: a signature under the name and key of a witness that is none of it. */
  take(note: string, size: number): string | undefined {
    const text = note.slice(0, note.lastIndexOf('\n\n') + 1)
    for (const { name, line } of signaturesBeside(note)) {
      const witness = this.#witnesses.find(one => one.name === name && keyIdOf(line).equals(one.keyId))
      const at_s = witness === undefined ? null : cosignedAt(line, text, witness)
      if (witness === undefined) this.#unknown.add(name)
      else if (at_s === null) return `the cosignature of ${name} on the log of ${size} entries is NOT good`
      else if ((this.#good.get(witness)?.size ?? -1) < size) this.#good.set(witness, { size, at_s })
    }
    return undefined
  }

  say(proved: string[], not_proved: string[]): void {
    for (const witness of this.#witnesses) {
      const good = this.#good.get(witness)
      if (good === undefined)
        not_proved.push(
          `that the witness ${witness.name} saw this log: no cosignature under the key that you gave is here`,
        )
      else
        proved.push(
          `the witness ${witness.name} cosigned this log of ${good.size} entries at ${new Date(good.at_s * 1000).toISOString()} (its time): it saw no other beginning of it`,
        )
    }
    const unknown = [...this.#unknown].filter(
      name => !this.#witnesses.some(one => one.name === name && this.#good.has(one)),
    )
    if (unknown.length > 0)
      not_proved.push(
        `what ${unknown.join(', ')} cosigned: no key of theirs was given; give what their operators publish with --witness`,
      )
  }
}

const keyIdOf = (line: string): Buffer => Buffer.from(line.slice(line.lastIndexOf(' ') + 1), 'base64').subarray(0, 4)
