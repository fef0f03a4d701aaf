import { textOf } from './lines.ts'
import { WireError } from './pkt-line.ts'
import { idOf } from './refs.ts'

const most = 1_000_000

/** What is known of the refs of a repository. */
export class KnownRefs {
  /** ref → id; where a tag leads is kept under the tag's own name in `#of` alone. */
  readonly refs = new Map<string, string>()
  readonly symrefs = new Map<string, string>()
  readonly #of = new Map<string, Set<string>>()

  add(ref: string, id: string): undefined {
    if (this.#of.size >= most) throw new WireError('more refs than are read here')
    const name = ref.endsWith('^{}') ? ref.slice(0, -3) : ref
    if (name === ref) this.refs.set(name, id)
    const names = this.#of.get(id)
    if (names === undefined) this.#of.set(id, new Set([name]))
    else names.add(name)
  }

  /** The refs that stand for an object, without those that are another name of one. */
  of(id: string): readonly string[] {
    const names = [...(this.#of.get(id) ?? [])]
    const real = names.filter(name => !this.symrefs.has(name))
    return real.length > 0 ? real : names
  }

  /** A line of the answer to `ls-refs`. @throws WireError */
  line(payload: Buffer): undefined {
    const text = textOf(payload)
    const [id, name, ...attributes] = text.split(' ')
    if (name === undefined) throw new WireError('a line that is no ref')
    if (id !== 'unborn') this.add(name, idOf(id!))
    for (const attribute of attributes) {
      if (attribute.startsWith('symref-target:')) this.symrefs.set(name, attribute.slice(14))
      else if (attribute.startsWith('peeled:')) this.add(`${name}^{}`, idOf(attribute.slice(7)))
    }
  }
}
