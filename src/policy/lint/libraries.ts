import type { Findings } from './findings.ts'
import { askedWith, type Flow, pointOf } from './flow.ts'
import type { Scope } from './scope.ts'
import { lacks, type Shape, step } from './shape.ts'
import { nameOf, type Term, termsOf, textOf } from './tree.ts'

/**
 * A library serves several points and may read what the input of one of them has. Where another point uses it, what it
 * reads is not there: the rule is undefined for ever, and a denial that stands on it never comes.
 */
export function lintLibraries(flow: Flow, findings: Findings): void {
  const reads = new Reads(flow)
  const { references, calls } = flow.program
  for (const { term, scope } of [...references, ...calls]) {
    const point = pointOf(scope)
    const used = point === undefined || scope.module.test ? undefined : flow.program.ruleNamed(term, scope)
    if (point === undefined || used?.startsWith('sallyport.lib.') !== true) continue
    for (const path of reads.of(used)) {
      if (!reaches(askedWith(point, flow.program), path))
        findings.add(
          'field',
          term,
          scope,
          `${nameOf(term)} reads input.${path.join('.')}, which ${point} is not asked with`,
        )
    }
  }
}

function reaches(input: Shape, path: readonly string[]): boolean {
  let at: Shape | undefined = input
  for (const name of path) {
    if (lacks(at, name)) return false
    at = at && step(at, name)
  }
  return true
}

/** Which paths of the input a rule reads, by itself and through the rules that it uses. */
class Reads {
  readonly #flow: Flow
  readonly #sites = new Map<string, { term: Term; scope: Scope }[]>()

  constructor(flow: Flow) {
    this.#flow = flow
    for (const site of [...flow.program.references, ...flow.program.calls]) {
      const found = this.#sites.get(site.within)
      if (found === undefined) this.#sites.set(site.within, [site])
      else found.push(site)
    }
  }

  of(rule: string): (readonly string[])[] {
    const found = new Map<string, readonly string[]>()
    const left = [rule]
    for (const at of left) {
      for (const { term, scope } of this.#sites.get(at) ?? []) {
        this.#flow.spend()
        const path = inputPath(term, scope)
        if (path !== undefined) found.set(path.join('.'), path)
        const used = this.#flow.program.ruleNamed(term, scope)
        if (used !== undefined && !left.includes(used)) left.push(used)
      }
    }
    return [...found.values()]
  }
}

/** `input.time.weekday` as names, up to the first that is not known before it runs. */
function inputPath(term: Term, scope: Scope): readonly string[] | undefined {
  const [head, ...rest] = term.type === 'ref' ? termsOf(term) : []
  if (head?.type !== 'var' || head.value !== 'input' || scope.lookup('input') !== undefined) return undefined
  const known = rest.findIndex(part => textOf(part) === undefined)
  return (known < 0 ? rest : rest.slice(0, known)).map(part => String(part.value))
}
