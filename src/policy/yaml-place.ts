import { isCollection, isPair, LineCounter, parseDocument } from 'yaml'
import type { Problem } from './problem.ts'

/** The line (from 1) at which a path of keys stands in a YAML or JSON text; that of its nearest parent where it does not. */
export function lineOf(text: string, path: readonly string[]): number {
  const lines = new LineCounter()
  let node: unknown = parseDocument(text, { lineCounter: lines }).contents
  let offset = 0
  for (const step of path) {
    if (!isCollection(node)) break
    const found = node.items.find((item, i) => (isPair(item) ? String(item.key) === step : String(i) === step))
    if (found === undefined) break
    const start = (isPair(found) ? found.key : found) as { range?: [number, number, number] | null } | null
    offset = start?.range?.[0] ?? offset
    node = isPair(found) ? found.value : found
  }
  return lines.linePos(offset).line
}

/** Keys that stand twice in one map: the compiler takes the last in silence, and a reader may believe the first. */
export function doubledKeys(file: string, text: string): Problem[] {
  const lines = new LineCounter()
  try {
    return parseDocument(text, { lineCounter: lines, uniqueKeys: true })
      .errors.filter(error => error.code === 'DUPLICATE_KEY')
      .map(({ pos }) => ({
        code: 'data',
        file,
        line: lines.linePos(pos[0]).line,
        message: 'this key stands here twice',
      }))
  } catch (error) {
    return [{ code: 'data', file, message: `the file cannot be read: ${(error as Error).message}` }]
  }
}
