import type { Candidates, Written } from './candidates.ts'
import type { Findings } from './findings.ts'
import type { Flow } from './flow.ts'
import { meant } from './meant.ts'
import type { Scope } from './scope.ts'
import type { Shape } from './shape.ts'
import { type Term, textOf } from './tree.ts'

const comparing = new Set(['equal', 'neq', 'eq', 'assign'])

/** Comparisons of a field that has few values with a text that is none of them: they are never true, or always. */
export function lintWords(flow: Flow, candidates: Candidates, findings: Findings): void {
  const compare = (field: Term, scope: Scope, texts: () => Written[]): void => {
    const shape = flow.shapeOf(field, scope)
    if (shape?.words === undefined) return
    for (const { term, scope: there } of texts()) expectWord(shape, term, there, findings)
  }
  for (const { operator, args, scope } of flow.program.calls) {
    const [left, right] = args
    if (left === undefined || right === undefined) continue
    if (comparing.has(operator)) {
      compare(left, scope, () => candidates.of(right, scope))
      compare(right, scope, () => candidates.of(left, scope))
    } else if (operator === 'internal.member_2') {
      compare(left, scope, () => candidates.elementsOf(right, scope))
      const items = flow.shapeOf(right, scope)?.items
      if (items?.words !== undefined)
        for (const { term, scope: at } of candidates.of(left, scope)) expectWord(items, term, at, findings)
    }
  }
  for (const { term, scope } of flow.program.references) lintTable(term, scope, flow, candidates, findings)
}

/** `table[input.action.verb]`: a name in the table that the field never has is a row that nobody reads. */
function lintTable(term: Term, scope: Scope, flow: Flow, candidates: Candidates, findings: Findings): void {
  const parts = term.value as Term[]
  const by = parts.findIndex(part => part.type === 'ref')
  const index = parts[by]
  if (by < 1 || index === undefined) return
  const shape = flow.shapeOf(index, scope)
  if (shape?.words === undefined) return
  const table: Term = by === 1 ? parts[0]! : { type: 'ref', value: parts.slice(0, by) }
  for (const { term: key, scope: there } of candidates.keysOf(table, scope)) expectWord(shape, key, there, findings)
}

export function expectWord(shape: Shape, term: Term, scope: Scope, findings: Findings): void {
  const text = textOf(term)
  if (text === undefined || shape.words === undefined || shape.words.includes(text)) return
  findings.add('word', term, scope, `${shape.at} is never "${text}": ${meant(text, shape.words, word => `"${word}"`)}`)
}
