import type { Module, Rule } from './program.ts'
import type { Term } from './tree.ts'

/** How a name of a rule got its value. */
export type Binding =
  | { readonly kind: 'value'; readonly of: Term; readonly scope: Scope }
  | { readonly kind: 'element'; readonly of: Term; readonly scope: Scope }
  | { readonly kind: 'key'; readonly of: Term; readonly scope: Scope }
  | { readonly kind: 'member'; readonly of: Term; readonly scope: Scope; readonly name: string | null }
  | { readonly kind: 'parameter'; readonly rule: Rule; readonly index: number }

/** The names of one body. A comprehension and an `every` see those around them. */
export class Scope {
  readonly module: Module
  readonly #around: Scope | undefined
  readonly #names = new Map<string, Binding[]>()

  constructor(module: Module, around?: Scope) {
    this.module = module
    this.#around = around
  }

  /** @param binding none for a name that is only declared. */
  bind(name: string, binding?: Binding): void {
    const found = this.#names.get(name)
    if (found === undefined) this.#names.set(name, binding === undefined ? [] : [binding])
    else if (binding !== undefined) found.push(binding)
  }

  /** Undefined for a name that no body around it declares: it is a rule, an import or a document. */
  lookup(name: string): readonly Binding[] | undefined {
    return this.#names.get(name) ?? this.#around?.lookup(name)
  }
}
