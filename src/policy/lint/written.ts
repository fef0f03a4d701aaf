import { type Point, points } from '../points.ts'
import type { Candidates } from './candidates.ts'
import { missing } from './fields.ts'
import type { Findings } from './findings.ts'
import { askedWith, type Flow, inputOf } from './flow.ts'
import { scopeOf, type With } from './program.ts'
import type { Scope } from './scope.ts'
import { dataShapes, lacks, resultShapes, type Shape, step } from './shape.ts'
import { comprehensionOf, isEvery, isSome, nameOf, pairsOf, type Term, termsOf, textOf } from './tree.ts'
import { expectWord } from './words.ts'

/**
 * Values that are written down where a shape is known: what a test passes `with input as`, and what a point answers. A
 * test with a misspelt field passes for the wrong reason; a misspelt member of a result is met by the first who gets it.
 */
export function lintWritten(flow: Flow, candidates: Candidates, findings: Findings): void {
  const check = new WrittenCheck(candidates, findings)
  for (const one of flow.program.withs) {
    const target = targetOf(one, flow, findings)
    if (target !== undefined) check.value(one.value, target, one.scope)
  }
  for (const [path, rules] of flow.program.rules) {
    const point = Object.keys(points).find(name => path === `sallyport.${name}.result`)
    if (point === undefined) continue
    for (const { node, scope } of rules)
      if (node.head.value !== undefined) check.value(node.head.value, resultShapes[point as Point], scope)
  }
}

class WrittenCheck {
  readonly #candidates: Candidates
  readonly #findings: Findings
  readonly #seen = new Map<Term, Set<Shape>>()

  constructor(candidates: Candidates, findings: Findings) {
    this.#candidates = candidates
    this.#findings = findings
  }

  value(term: Term, shape: Shape, scope: Scope): void {
    for (const found of this.#candidates.of(term, scope)) this.#one(found.term, shape, found.scope)
  }

  #one(term: Term, shape: Shape, scope: Scope): void {
    const shapes = this.#seen.get(term) ?? new Set()
    if (shapes.has(shape)) return
    this.#seen.set(term, shapes.add(shape))
    if (term.type === 'object') {
      for (const [key, value] of pairsOf(term)) {
        const name = textOf(key)
        if (name !== undefined && lacks(shape, name)) this.#findings.add('field', key, scope, missing(shape, name))
        const member = name === undefined ? shape.values : step(shape, name)
        if (member !== undefined) this.value(value, member, scope)
      }
    } else if (term.type === 'array' || term.type === 'set') {
      if (shape.items !== undefined) for (const item of termsOf(term)) this.value(item, shape.items, scope)
    } else if (term.type === 'call') this.#called(term, shape, scope)
    else if (comprehensionOf(term) !== undefined) {
      const made = comprehensionOf(term)!
      const [part, inner] = made.term !== undefined ? [made.term, shape.items] : [made.value, shape.values]
      if (part !== undefined && inner !== undefined) this.value(part, inner, scopeOf(made, scope))
    } else expectWord(shape, term, scope, this.#findings)
  }

  /** Builtins whose answer has the shape of their operands. */
  #called(term: Term, shape: Shape, scope: Scope): void {
    const [operator, ...args] = termsOf(term)
    const name = nameOf(operator)
    const [first] = args
    if (name === 'object.union' || name === 'array.concat' || name === 'or')
      for (const arg of args) this.value(arg, shape, scope)
    else if (name === 'object.union_n' && first !== undefined) this.value(first, { at: shape.at, items: shape }, scope)
    else if ((name === 'object.remove' || name === 'object.filter') && first !== undefined)
      this.value(first, shape, scope)
  }
}

/** What stands in the place that a `with` replaces. */
function targetOf(one: With, flow: Flow, findings: Findings): Shape | undefined {
  const [root, ...path] = one.target.type === 'ref' ? termsOf(one.target) : [one.target]
  const name = String(root?.value)
  let at: Shape | undefined
  if (name === 'input') at = asked(one, flow)
  else if (name === 'data') at = dataShapes[textOf(path.shift()) ?? '']
  for (const part of path) {
    const word = textOf(part)
    if (word !== undefined && lacks(at, word)) findings.add('field', part, one.scope, missing(at, word))
    at = at && step(at, word ?? null)
  }
  return at
}

/** The input of the point that an expression asks; in doubt that of the folder. */
function asked({ expression, scope }: With, flow: Flow): Shape {
  const named = new Set<Point>()
  const look = (term: Term): void => {
    const path = term.type === 'ref' ? flow.program.pathOf(nameOf(term).split('.'), scope) : undefined
    if (path?.[0] === 'sallyport' && Object.hasOwn(points, path[1] ?? '')) named.add(path[1] as Point)
    if (term.type === 'ref' || term.type === 'call' || term.type === 'array')
      for (const part of termsOf(term)) look(part)
  }
  const { terms } = expression
  if (!isSome(terms) && !isEvery(terms)) for (const term of Array.isArray(terms) ? terms : [terms as Term]) look(term)
  const [only] = named
  return named.size === 1 && only !== undefined ? askedWith(only, flow.program) : inputOf(scope, flow.program)
}
