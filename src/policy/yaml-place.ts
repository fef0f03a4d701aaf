import { isCollection, isMap, isPair, isScalar, LineCounter, parseDocument } from 'yaml'
import type { Problem } from './problem.ts'

const mostDoubled = 50
/** In a longer text no line is looked for: it would take the parser many seconds. */
const mostPlaced = 1 << 20
/** The parser looks for keys that stand twice by comparing each with each: a large file would take it hours. */
const uniqueKeys = false

/** Finds the line (from 1) at which a path of keys stands in a YAML or JSON text; that of its nearest parent where it does not. */
export function placesIn(text: string): (path: readonly string[]) => number {
  if (text.length > mostPlaced) return () => 1 // the path says where
  const lines = new LineCounter()
  const { contents } = parseDocument(text, { lineCounter: lines, uniqueKeys })
  return path => {
    let node: unknown = contents
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
}

/** Keys that stand twice in one map: the compiler takes the last in silence, and a reader may believe the first. */
export function doubledKeys(file: string, text: string): Problem[] {
  const lines = new LineCounter()
  const found: Problem[] = []
  try {
    const left: unknown[] = [parseDocument(text, { lineCounter: lines, uniqueKeys }).contents]
    while (left.length > 0 && found.length < mostDoubled) {
      const node = left.pop()
      if (!isCollection(node)) continue
      for (const item of node.items) {
        if (!isPair(item)) left.push(item)
        else left.push(item.key, item.value)
      }
      if (!isMap(node)) continue
      const seen = new Set<string>()
      for (const { key } of node.items) {
        if (!isScalar(key)) continue
        const name = String(key.value)
        if (seen.has(name) && found.length < mostDoubled) {
          const { line } = lines.linePos(key.range?.[0] ?? 0)
          found.push({ code: 'data', file, line, message: 'this key stands here twice' })
        }
        seen.add(name)
      }
    }
  } catch (error) {
    return [{ code: 'data', file, message: `the file cannot be read: ${(error as Error).message}` }]
  }
  return found.sort((a, b) => (a.line ?? 0) - (b.line ?? 0))
}
