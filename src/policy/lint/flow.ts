import { type Point, points } from '../points.ts'
import type { Program, Rule } from './program.ts'
import { scopeOf } from './program.ts'
import type { Binding, Scope } from './scope.ts'
import { anyInput, dataShapes, inputShapes, join, type Shape, step, without } from './shape.ts'
import { comprehensionOf, nameOf, type Term, termsOf, textOf } from './tree.ts'

/** Thrown when a repository is too tangled to be followed within bounds. */
export class TooTangled extends Error {}

const deepest = 200

/**
 * What is known of the values of a program before it runs. INVARIANT: when in doubt nothing is known; a policy that is
 * right is never refused for a guess.
 */
export class Flow {
  readonly program: Program
  readonly #known = new Map<Term, Map<Scope, Shape | undefined>>()
  readonly #asking = new Set<unknown>()
  #left: number
  #depth = 0

  constructor(program: Program, steps = 3_000_000) {
    this.program = program
    this.#left = steps
  }

  /** Counts steps: whatever takes time for each of many things. @throws TooTangled */
  spend(steps = 1): void {
    this.#left -= steps
    if (this.#left < 0) throw new TooTangled()
  }

  /** The shape of a term where it stands, or undefined. */
  shapeOf(term: Term, scope: Scope): Shape | undefined {
    const known = this.#known.get(term)
    if (known?.has(scope) === true) return known.get(scope)
    this.spend()
    if (this.#asking.has(term) || this.#depth > deepest) return undefined
    this.#asking.add(term)
    this.#depth++
    const shape = this.#shapeOf(term, scope)
    this.#depth--
    this.#asking.delete(term)
    if (known === undefined) this.#known.set(term, new Map([[scope, shape]]))
    else known.set(scope, shape)
    return shape
  }

  /** The value that each step of a reference starts from, with the step. */
  *stepsOf(term: Term, scope: Scope): Generator<{ from: Shape; by: Term; name: string | undefined }> {
    const { start, rest } = this.#start(term, scope)
    let at = start
    for (const by of rest) {
      if (at === undefined) return
      const name = textOf(by)
      yield { from: at, by, name }
      at = step(at, name ?? null)
    }
  }

  #shapeOf(term: Term, scope: Scope): Shape | undefined {
    const comprehension = comprehensionOf(term)
    if (comprehension?.term !== undefined) {
      const items = this.shapeOf(comprehension.term, scopeOf(comprehension, scope))
      return items === undefined ? undefined : { at: items.at, items }
    }
    if (term.type === 'call') return this.#called(termsOf(term), scope)
    if (term.type !== 'ref' && term.type !== 'var') return undefined
    const { start, rest } = this.#start(term, scope)
    return rest.reduce<Shape | undefined>((at, by) => at && step(at, textOf(by) ?? null), start)
  }

  /** Where a reference begins, and the steps that are left from there. */
  #start(term: Term, scope: Scope): { start: Shape | undefined; rest: readonly Term[] } {
    const parts = term.type === 'ref' ? termsOf(term) : [term]
    const [head, ...rest] = parts
    if (head === undefined) return { start: undefined, rest: [] }
    if (head.type !== 'var') return { start: this.shapeOf(head, scope), rest }
    const name = String(head.value)
    const bindings = scope.lookup(name)
    if (bindings !== undefined) return { start: this.#joined(bindings.map(binding => this.#bound(binding))), rest }
    if (name === 'input') return { start: inputOf(scope, this.program), rest }
    const imported = scope.module.imports.get(name)
    if (imported?.[0] === 'input') {
      const start = imported
        .slice(1)
        .reduce<Shape | undefined>((at, word) => at && step(at, word), inputOf(scope, this.program))
      return { start, rest }
    }
    const base = this.program.pathOf([name], scope) ?? []
    return this.#document([...base], rest)
  }

  /** A path below `data`: a document that we know, or the longest name that is a rule. */
  #document(path: string[], rest: readonly Term[]): { start: Shape | undefined; rest: readonly Term[] } {
    for (let used = 0; ; used++) {
      const rules = this.program.rules.get(path.join('.'))
      if (rules !== undefined)
        return { start: this.#joined(rules.map(rule => this.#ruled(rule))), rest: rest.slice(used) }
      const [only] = path
      if (path.length === 1 && only !== undefined && Object.hasOwn(dataShapes, only))
        return { start: dataShapes[only], rest: rest.slice(used) }
      const next = textOf(rest[used])
      if (next === undefined || path.length > 8) return { start: undefined, rest: [] }
      path.push(next)
    }
  }

  #ruled(rule: Rule): Shape | undefined {
    const { head } = rule.node
    if (rule.keyed || (head.args ?? []).length > 0) return undefined
    if (head.key !== undefined) {
      const items = this.shapeOf(head.key, rule.scope)
      return items === undefined ? undefined : { at: items.at, items }
    }
    return head.value === undefined ? undefined : this.shapeOf(head.value, rule.scope)
  }

  #bound(binding: Binding): Shape | undefined {
    if (binding.kind === 'parameter') {
      const calls = this.program.callsOf(binding.rule)
      return this.#joined(
        calls.map(({ args, scope }) => args[binding.index] && this.shapeOf(args[binding.index]!, scope)),
      )
    }
    if (binding.kind === 'key') return undefined
    const whole = this.shapeOf(binding.of, binding.scope)
    if (whole === undefined || binding.kind === 'value') return whole
    return binding.kind === 'element' ? (whole.items ?? whole.values) : step(whole, binding.name)
  }

  #called([operator, ...args]: readonly Term[], scope: Scope): Shape | undefined {
    const name = nameOf(operator)
    if (name === 'object.get') return this.#got(args, scope)
    const path = this.program.pathOf(name.split('.'), scope)?.join('.')
    const rules = path === undefined ? undefined : this.program.rules.get(path)
    if (rules === undefined) return undefined
    return this.#joined(
      rules.map(rule => (rule.node.head.value ? this.shapeOf(rule.node.head.value, rule.scope) : undefined)),
    )
  }

  /** `object.get(value, "name" or ["a", "path"], default)`; the default counts unless it is empty. */
  #got([from, by, otherwise]: readonly Term[], scope: Scope): Shape | undefined {
    if (from === undefined || by === undefined || otherwise === undefined) return undefined
    const empty = Array.isArray(otherwise.value) ? otherwise.value.length === 0 : otherwise.type !== 'var'
    if (!empty) return undefined
    const names = by.type === 'array' ? termsOf(by).map(textOf) : [textOf(by)]
    return names.reduce<Shape | undefined>((at, name) => at && step(at, name ?? null), this.shapeOf(from, scope))
  }

  /** Known only when every possibility is. */
  #joined(shapes: readonly (Shape | undefined)[]): Shape | undefined {
    this.spend(shapes.length)
    const known = new Set(shapes)
    return known.has(undefined) || known.size === 0 ? undefined : ([...known] as Shape[]).reduce(join)
  }
}

/** The input of the point in whose folder a module lies; a library's is that of any. */
export function inputOf(scope: Scope, program: Program): Shape {
  const point = pointOf(scope)
  return point === undefined ? anyInput : askedWith(point, program)
}

/** What a point is asked with in this repository: facts that a package must ask for are there only where it does. */
export function askedWith(point: Point, program: Program): Shape {
  const shape = inputShapes[point]
  return point === 'action' && !program.needs.includes('time') ? without(shape, 'time') : shape
}

export function pointOf({ module }: Scope): Point | undefined {
  const folder = module.file.split('/')[0] ?? ''
  return Object.hasOwn(points, folder) ? (folder as Point) : undefined
}
