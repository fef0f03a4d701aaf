import type { Findings } from './findings.ts'
import type { Flow } from './flow.ts'
import { meant } from './meant.ts'
import { lacks, type Shape, step } from './shape.ts'
import { type Term, termsOf, textOf } from './tree.ts'

/** Builtins whose second operand names members of the first. */
const naming = new Set(['object.get', 'object.remove', 'object.filter', 'json.remove', 'json.filter'])

/** Fields that are read and never there: through parameters, data documents and builtins, where OPA's own check does not look. */
export function lintFields(flow: Flow, findings: Findings): void {
  for (const { term, scope } of flow.program.references) {
    for (const { from, by, name } of flow.stepsOf(term, scope)) {
      if (name !== undefined && lacks(from, name)) findings.add('field', by, scope, missing(from, name))
    }
  }
  for (const { operator, args, scope } of flow.program.calls) {
    const [of, by] = args
    if (!naming.has(operator) || of === undefined || by === undefined) continue
    const shape = flow.shapeOf(of, scope)
    if (shape === undefined) continue
    for (const path of pathsOf(operator, by)) {
      let at: Shape | undefined = shape
      for (const { name, term } of path) {
        if (lacks(at, name)) findings.add('field', term, scope, missing(at, name))
        at = at && step(at, name)
      }
    }
  }
}

export function missing(shape: Shape & { fields: ReadonlyMap<string, Shape> }, name: string): string {
  if (shape.at === 'input' && name === 'time')
    return 'input has no field time here: write `# custom: { needs: [time] }` above the package, which costs the cache'
  return `${shape.at} has no field ${name}: ${meant(name, shape.fields.keys())}`
}

interface Named {
  readonly name: string
  readonly term: Term
}

/** The paths that an operand names. `object.get` has one, as a name or a list of names; the others have several. */
function pathsOf(operator: string, by: Term): Named[][] {
  const named = (term: Term): Named[] => (textOf(term) === undefined ? [] : [{ name: textOf(term)!, term }])
  if (operator === 'object.get') {
    const names = by.type === 'array' ? termsOf(by) : [by]
    const known = names.findIndex(term => textOf(term) === undefined)
    return [(known < 0 ? names : names.slice(0, known)).flatMap(named)]
  }
  if (operator.startsWith('object.')) return termsOf(by).map(named)
  return termsOf(by).map(term =>
    (textOf(term) ?? '')
      .split('/')
      .filter(Boolean)
      .map(name => ({ name, term })),
  )
}
