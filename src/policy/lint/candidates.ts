import type { Flow } from './flow.ts'
import { scopeOf } from './program.ts'
import type { Scope } from './scope.ts'
import { comprehensionOf, nameOf, pairsOf, type Term, termsOf, textOf } from './tree.ts'

/** A term as it is written, where its names mean what they mean there. */
export interface Written {
  readonly term: Term
  readonly scope: Scope
}

/** How a list, a set or an object is left when its elements are asked for. */
const inside = ['or', 'array.concat', 'object.union']
const mostSteps = 60

/**
 * What a term may stand for as it is written somewhere in the repository: names are followed to what they were given,
 * parameters to the calls, rules to their definitions. What cannot be followed is left out.
 */
export class Candidates {
  readonly #flow: Flow
  #asking: Term[] = []

  constructor(flow: Flow) {
    this.#flow = flow
  }

  /** Objects, lists, texts and calls of builtins that this term may be. */
  of(term: Term, scope: Scope): Written[] {
    return this.#guarded(term, () => this.#of(term, scope))
  }

  /** What the elements (or values) of this term may be. */
  elementsOf(term: Term, scope: Scope): Written[] {
    return this.of(term, scope).flatMap(found => this.#inside(found))
  }

  /** What the names (keys) of this object may be. */
  keysOf(term: Term, scope: Scope): Written[] {
    return this.of(term, scope).flatMap(({ term: found, scope: there }) => {
      if (found.type !== 'object') return []
      this.#flow.spend(pairsOf(found).length)
      return pairsOf(found).map(([key]) => ({ term: key, scope: there }))
    })
  }

  #guarded(term: Term, run: () => Written[]): Written[] {
    this.#flow.spend()
    if (this.#asking.includes(term) || this.#asking.length > mostSteps) return []
    this.#asking.push(term)
    const found = run()
    this.#asking.pop()
    return found
  }

  #of(term: Term, scope: Scope): Written[] {
    if (term.type === 'var') return this.#named([term], scope)
    if (term.type === 'ref') return this.#named(termsOf(term), scope)
    if (term.type !== 'call') return [{ term, scope }]
    const [operator] = termsOf(term)
    const rules = this.#rulesOf(nameOf(operator).split('.'), scope)
    if (rules === undefined) return [{ term, scope }]
    return rules.flatMap(({ node, scope: there }) => (node.head.value ? this.of(node.head.value, there) : []))
  }

  #named([head, ...rest]: readonly Term[], scope: Scope): Written[] {
    if (head === undefined) return []
    if (head.type !== 'var') return this.#stepped(this.of(head, scope), rest)
    const bindings = scope.lookup(String(head.value))
    if (bindings === undefined) return this.#document(head, rest, scope)
    const found = bindings.flatMap((binding): Written[] => {
      if (binding.kind === 'value') return this.of(binding.of, binding.scope)
      if (binding.kind === 'element') return this.elementsOf(binding.of, binding.scope)
      if (binding.kind === 'key') return this.keysOf(binding.of, binding.scope)
      if (binding.kind === 'member') {
        const by: Term = binding.name === null ? head : { type: 'string', value: binding.name }
        return this.#stepped(this.of(binding.of, binding.scope), [by])
      }
      return this.#flow.program
        .callsOf(binding.rule)
        .flatMap(call => (call.args[binding.index] ? this.of(call.args[binding.index]!, call.scope) : []))
    })
    return this.#stepped(found, rest)
  }

  /** A rule by the longest name that is one. A set rule is its elements behind one more step. */
  #document(head: Term, rest: readonly Term[], scope: Scope): Written[] {
    for (let used = 0; used <= rest.length; used++) {
      const names = rest.slice(0, used).map(textOf)
      if (names.includes(undefined)) return []
      const rules = this.#rulesOf([String(head.value), ...(names as string[])], scope)
      if (rules === undefined) continue
      const left = rest.slice(used)
      return rules.flatMap(({ node, scope: there, keyed }) => {
        if (keyed || (node.head.args ?? []).length > 0) return []
        if (node.head.key !== undefined) {
          const set: Term = { type: 'set', value: [node.head.key] }
          return this.#stepped([{ term: set, scope: there }], left)
        }
        return node.head.value ? this.#stepped(this.of(node.head.value, there), left) : []
      })
    }
    return []
  }

  #rulesOf(parts: readonly string[], scope: Scope) {
    const path = this.#flow.program.pathOf(parts, scope)?.join('.')
    return path === undefined ? undefined : this.#flow.program.rules.get(path)
  }

  #stepped(from: Written[], steps: readonly Term[]): Written[] {
    return steps.reduce((at, by) => {
      const name = textOf(by)
      return at.flatMap(found => this.#inside(found, name))
    }, from)
  }

  /** The values inside, or only those of one name. */
  #inside({ term, scope }: Written, name?: string): Written[] {
    if (term.type === 'object') {
      return pairsOf(term)
        .filter(([key]) => name === undefined || textOf(key) === undefined || textOf(key) === name)
        .flatMap(([, value]) => this.of(value, scope))
    }
    if (term.type === 'array' || term.type === 'set') return termsOf(term).flatMap(value => this.of(value, scope))
    const comprehension = comprehensionOf(term)
    const made = comprehension?.term ?? comprehension?.value
    if (comprehension !== undefined && made !== undefined) return this.of(made, scopeOf(comprehension, scope))
    if (term.type !== 'call') return []
    const [operator, ...args] = termsOf(term)
    if (!inside.includes(nameOf(operator))) return []
    return args.flatMap(arg => this.of(arg, scope)).flatMap(found => this.#inside(found, name))
  }
}
