import { bindBody, bindPattern } from './bind.ts'
import { Scope } from './scope.ts'
import {
  comprehensionOf,
  type Expression,
  isEvery,
  isSome,
  type ModuleNode,
  nameOf,
  pairsOf,
  type RuleNode,
  type Term,
  termsOf,
} from './tree.ts'

export interface Module {
  readonly file: string
  /** Without `data`: `sallyport.access`. */
  readonly package: string
  readonly test: boolean
  /** What the package wants in its input besides what all get: `custom.needs`. */
  readonly needs: readonly string[]
  /** Name in this file → path from `data` or `input`. */
  readonly imports: ReadonlyMap<string, readonly string[]>
}

/** One definition of a rule; an `else` is a definition of its own. */
export interface Rule {
  readonly module: Module
  readonly path: string
  readonly node: RuleNode
  readonly scope: Scope
  /** Whether the name ends in something that is known only when it runs: `p[x] := y`. */
  readonly keyed: boolean
}

export interface Call {
  readonly operator: string
  readonly term: Term
  readonly args: readonly Term[]
  readonly scope: Scope
  /** The path of the rule in which it stands; so below. */
  readonly within: string
}

export interface Reference {
  readonly term: Term
  readonly scope: Scope
  readonly within: string
}

export interface With {
  readonly target: Term
  readonly value: Term
  readonly expression: Expression
  readonly scope: Scope
}

/** All modules of a repository: every rule by its path, every call, every reference, every `with`, in file order. */
export class Program {
  readonly rules = new Map<string, Rule[]>()
  readonly calls: Call[] = []
  readonly references: Reference[] = []
  readonly withs: With[] = []
  /** What the package of `action` asks for. */
  readonly needs: readonly string[]
  readonly #callsOf = new Map<string, Call[]>()
  /** The same without those of tests. */
  readonly #callsOfPolicies = new Map<string, Call[]>()

  /** @param trees syntax trees by path, tests too. */
  constructor(trees: ReadonlyMap<string, unknown>) {
    const modules = [...trees].map(([file, tree]) => ({ ...readModule(file, tree as ModuleNode), file }))
    for (const { module, nodes } of modules)
      for (const node of nodes)
        for (let at: RuleNode | undefined = node; at !== undefined; at = at.else) this.#declare(module, at, node)
    this.needs = modules.flatMap(({ module }) => (module.package === 'sallyport.action' ? module.needs : []))
    for (const rules of this.rules.values()) for (const rule of rules) this.#walkRule(rule)
    for (const call of this.calls) {
      const path = this.pathOf(call.operator.split('.'), call.scope)?.join('.')
      if (path === undefined || !this.rules.has(path)) continue
      for (const calls of call.scope.module.test ? [this.#callsOf] : [this.#callsOf, this.#callsOfPolicies]) {
        const found = calls.get(path)
        if (found === undefined) calls.set(path, [call])
        else found.push(call)
      }
    }
  }

  /** Where a function is called; those of tests only when the function is a test's own. */
  callsOf(rule: Rule): readonly Call[] {
    return (rule.module.test ? this.#callsOf : this.#callsOfPolicies).get(rule.path) ?? []
  }

  /** The path of the longest rule that a reference or an operator names. */
  ruleNamed(term: Term, scope: Scope): string | undefined {
    const parts = term.type === 'ref' ? termsOf(term) : [term]
    const variable = parts.findIndex((part, i) => i > 0 && part.type !== 'string')
    const names = (variable < 0 ? parts : parts.slice(0, variable)).map(part => String(part.value))
    const path = parts[0]?.type === 'var' ? this.pathOf(names, scope) : undefined
    for (let used = path?.length ?? 0; used > 0; used--) {
      const found = path!.slice(0, used).join('.')
      if (this.rules.has(found)) return found
    }
    return undefined
  }

  /** The path below `data` that a written name means in a module, or undefined for a local name and for `input`. */
  pathOf(parts: readonly string[], scope: Scope): readonly string[] | undefined {
    const [head = '', ...rest] = parts
    if (scope.lookup(head) !== undefined || head === 'input') return undefined
    if (head === 'data') return rest
    const imported = scope.module.imports.get(head)
    if (imported !== undefined) return imported[0] === 'data' ? [...imported.slice(1), ...rest] : undefined
    return [...scope.module.package.split('.'), ...parts]
  }

  #declare(module: Module, node: RuleNode, first: RuleNode): void {
    const { head } = node
    const ref = head.ref ?? []
    const named = ref.findIndex((part, i) => i > 0 && part.type !== 'string')
    const words = (named < 0 ? ref : ref.slice(0, named)).map(part => String(part.value))
    const path = `${module.package}.${words.length > 0 ? words.join('.') : (head.name ?? '')}`
    const scope = new Scope(module)
    const rule: Rule = {
      module,
      path,
      node,
      scope,
      keyed: named >= 0 || (head.key !== undefined && head.value !== undefined),
    }
    for (const [index, arg] of (first.head.args ?? []).entries()) {
      if (arg.type === 'var') scope.bind(String(arg.value), { kind: 'parameter', rule, index })
      else bindPattern(arg, undefined, scope)
    }
    const found = this.rules.get(path)
    if (found === undefined) this.rules.set(path, [rule])
    else found.push(rule)
  }

  #walkRule({ node, scope, module, path: within }: Rule): void {
    const isGlobal = (name: string) => this.rules.has(`${module.package}.${name}`) || module.imports.has(name)
    const walkBody = (body: readonly Expression[], inner: Scope): void => {
      bindBody(body, inner, isGlobal)
      for (const expression of body) {
        const { terms } = expression
        if (isSome(terms)) for (const symbol of terms.symbols) walkTerm(symbol, inner)
        else if (isEvery(terms)) {
          walkTerm(terms.domain, inner)
          const each = new Scope(inner.module, inner)
          bindPattern(terms.value, { kind: 'element', of: terms.domain, scope: inner }, each)
          if (terms.key !== null) bindPattern(terms.key, { kind: 'key', of: terms.domain, scope: inner }, each)
          walkBody(terms.body, each)
        } else if (Array.isArray(terms)) this.#walkCall(terms as Term[], inner, within, walkTerm)
        else walkTerm(terms as Term, inner)
        for (const { target, value } of expression.with ?? []) {
          walkTerm(value, inner)
          this.withs.push({ target, value, expression, scope: inner })
        }
      }
    }
    const walkTerm = (term: Term, inner: Scope): void => {
      const comprehension = comprehensionOf(term)
      if (comprehension !== undefined) {
        const own = scopeOf(comprehension, inner)
        walkBody(comprehension.body, own)
        for (const part of [comprehension.term, comprehension.key, comprehension.value])
          if (part !== undefined) walkTerm(part, own)
      } else if (term.type === 'ref') {
        this.references.push({ term, scope: inner, within })
        for (const part of termsOf(term)) if (part.type !== 'var' && part.type !== 'string') walkTerm(part, inner)
      } else if (term.type === 'call') this.#walkCall(termsOf(term), inner, within, walkTerm)
      else if (term.type === 'object') for (const pair of pairsOf(term)) for (const part of pair) walkTerm(part, inner)
      else if (term.type === 'array' || term.type === 'set') for (const part of termsOf(term)) walkTerm(part, inner)
      else if (term.type === 'templatestring') {
        for (const part of (term.value as { parts: { terms?: Term | Term[] }[] }).parts) {
          if (Array.isArray(part.terms)) this.#walkCall(part.terms, inner, within, walkTerm)
          else if (part.terms !== undefined) walkTerm(part.terms, inner)
        }
      }
    }
    walkBody(node.body ?? [], scope)
    for (const part of [node.head.key, node.head.value]) if (part !== undefined) walkTerm(part, scope)
  }

  #walkCall(terms: readonly Term[], scope: Scope, within: string, walkTerm: (term: Term, scope: Scope) => void): void {
    const [operator, ...args] = terms
    if (operator !== undefined) this.calls.push({ operator: nameOf(operator), term: operator, args, scope, within })
    for (const arg of args) walkTerm(arg, scope)
  }
}

const scopes = new WeakMap<object, Scope>()

/** The scope of a comprehension, the same each time it is asked for. */
export function scopeOf(comprehension: object, around: Scope): Scope {
  const found = scopes.get(comprehension) ?? new Scope(around.module, around)
  scopes.set(comprehension, found)
  return found
}

function readModule(file: string, tree: ModuleNode): { module: Module; nodes: readonly RuleNode[] } {
  const imports = (tree.imports ?? []).map(({ path, alias }): [string, string[]] => {
    const parts = termsOf(path).map(part => String(part.value))
    return [alias ?? parts.at(-1) ?? '', parts]
  })
  const name = tree.package.path.slice(1).map(part => String(part.value))
  const needs = (tree.annotations ?? []).flatMap(({ custom }) => (Array.isArray(custom?.needs) ? custom.needs : []))
  const test = file.endsWith('_test.rego')
  const module = { file, package: name.join('.'), test, needs: needs.map(String), imports: new Map(imports) }
  return { module, nodes: tree.rules ?? [] }
}
