import type { Binding, Scope } from './scope.ts'
import { type Expression, isEvery, isSome, nameOf, pairsOf, type Term, termsOf, textOf } from './tree.ts'

/** Binds the names that a body declares. @param isGlobal whether a name is a rule or an import, which `=` does not declare. */
export function bindBody(body: readonly Expression[], scope: Scope, isGlobal: (name: string) => boolean): void {
  for (const { terms } of body) {
    if (isSome(terms)) for (const symbol of terms.symbols) bindSymbol(symbol, scope)
    else if (!isEvery(terms) && Array.isArray(terms)) {
      const [operator, left, right] = terms as Term[]
      if (left === undefined || right === undefined) continue
      const name = nameOf(operator)
      if (name === 'assign') bindPattern(left, { kind: 'value', of: right, scope }, scope)
      if (name !== 'eq') continue
      if (left.type !== 'var' || !isGlobal(String(left.value)))
        bindPattern(left, { kind: 'value', of: right, scope }, scope)
      if (right.type === 'var' && !isGlobal(String(right.value)))
        bindPattern(right, { kind: 'value', of: left, scope }, scope)
    }
  }
}

/** `some x`, `some x in list`, `some i, x in list`. */
function bindSymbol(symbol: Term, scope: Scope): void {
  if (symbol.type === 'var') scope.bind(String(symbol.value))
  const [operator, ...args] = termsOf(symbol)
  const list = args.at(-1)
  if (list === undefined) return
  const [first, second] = args
  if (nameOf(operator) === 'internal.member_3' && second !== undefined) {
    bindPattern(first!, { kind: 'key', of: list, scope }, scope)
    bindPattern(second, { kind: 'element', of: list, scope }, scope)
  } else if (first !== undefined) bindPattern(first, { kind: 'element', of: list, scope }, scope)
}

/** Binds a name, or the names inside of a list or an object that is taken apart. */
export function bindPattern(pattern: Term, binding: Binding | undefined, scope: Scope): void {
  if (pattern.type === 'var') {
    const name = String(pattern.value)
    if (!isWildcard(name)) scope.bind(name, binding)
    return
  }
  const whole = binding?.kind === 'value' ? binding : undefined
  if (pattern.type === 'array') {
    const of = whole?.of.type === 'array' ? termsOf(whole.of) : []
    for (const [i, part] of termsOf(pattern).entries())
      bindPattern(part, whole && of[i] ? { kind: 'value', of: of[i], scope: whole.scope } : undefined, scope)
  } else if (pattern.type === 'object') {
    for (const [key, part] of pairsOf(pattern)) {
      const name = textOf(key) ?? null
      bindPattern(part, whole && { kind: 'member', of: whole.of, scope: whole.scope, name }, scope)
    }
  }
}

function isWildcard(name: string): boolean {
  return name.startsWith('$') || name === '_'
}
