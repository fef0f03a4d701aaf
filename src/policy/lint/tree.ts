/** OPA's syntax tree as `opa parse --format json` writes it, as far as the lints read it. */
export interface Term {
  readonly type: string
  readonly value?: unknown
  readonly location?: { readonly row?: number }
}

export interface Every {
  readonly key: Term | null
  readonly value: Term
  readonly domain: Term
  readonly body: readonly Expression[]
}

/** `terms` is one term, a call as operator and operands, the names of a `some`, or an `every`. */
export interface Expression {
  readonly terms: Term | readonly Term[] | { readonly symbols: readonly Term[] } | Every
  readonly with?: readonly { readonly target: Term; readonly value: Term }[]
}

export interface Comprehension {
  readonly term?: Term
  readonly key?: Term
  readonly value?: Term
  readonly body: readonly Expression[]
}

export interface RuleNode {
  readonly head: {
    readonly name?: string
    readonly ref?: readonly Term[]
    readonly args?: readonly Term[]
    readonly key?: Term
    readonly value?: Term
  }
  readonly body?: readonly Expression[]
  readonly else?: RuleNode
  readonly default?: boolean
}

export interface ModuleNode {
  readonly package: { readonly path: readonly Term[] }
  readonly imports?: readonly { readonly path: Term; readonly alias?: string }[]
  readonly rules?: readonly RuleNode[]
  readonly annotations?: readonly { readonly custom?: { readonly needs?: unknown } }[]
}

export function rowOf(term: Term): number {
  return term.location?.row ?? 1
}

export function isEvery(terms: Expression['terms']): terms is Every {
  return 'domain' in terms
}

export function isSome(terms: Expression['terms']): terms is { readonly symbols: readonly Term[] } {
  return 'symbols' in terms
}

/** The text of a string term. */
export function textOf(term: Term | undefined): string | undefined {
  return term?.type === 'string' ? String(term.value) : undefined
}

/** The terms of a list, a set or a reference. */
export function termsOf(term: Term): readonly Term[] {
  return Array.isArray(term.value) ? (term.value as Term[]) : []
}

/** The pairs of an object. */
export function pairsOf(term: Term): readonly (readonly [Term, Term])[] {
  return Array.isArray(term.value) ? (term.value as [Term, Term][]) : []
}

/** A reference to a builtin or a function as it is written: `object.get`, `people.in_group`. */
export function nameOf(term: Term | undefined): string {
  if (term?.type === 'var') return String(term.value)
  return term?.type === 'ref'
    ? termsOf(term)
        .map(part => String(part.value))
        .join('.')
    : ''
}

export function comprehensionOf(term: Term): Comprehension | undefined {
  return /^(set|array|object)comprehension$/.test(term.type) ? (term.value as Comprehension) : undefined
}
