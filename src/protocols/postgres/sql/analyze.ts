import { Generations } from '../../../generations.ts'
import type { Analysis, Analyzer, AnalyzerContext, CatalogSnapshot, Statement } from './contract.ts'
import { parse } from './parse.ts'
import { analyzeStatement } from './statement.ts'
import { shapeOf } from './template.ts'

const cachedShapes = { entries: 4000, characters: 2 << 20 }
const nothing: ReadonlySet<string> = new Set()

/** One for all connections of a resource with the same search_path. The cache lives as long as a catalog snapshot. */
export function createAnalyzer(context: AnalyzerContext, options: { readonly cache?: boolean } = {}): Analyzer {
  const cache = new Generations<readonly [Statement]>(cachedShapes)
  let snapshot: CatalogSnapshot | undefined
  return {
    analyze(sql, created = nothing): Analysis {
      const catalog = context.catalog()
      if (catalog !== snapshot) {
        cache.clear()
        snapshot = catalog
      }
      const shape = options.cache === false ? undefined : shapeOf(sql)
      const known = shape === undefined ? undefined : cache.get(shape)
      if (known !== undefined) return { ok: true, statements: known, texts: [sql], unknownRelation: false }
      const parsed = parse(sql)
      if (!parsed.ok) return parsed
      const names = { searchPath: context.searchPath, catalog, created: new Set(created) }
      const statements: Statement[] = []
      let unknownRelation = false
      let reusable = parsed.statements.length === 1 && shape !== undefined
      for (const { node } of parsed.statements) {
        const analyzed = analyzeStatement(node, names)
        for (const name of analyzed.statement.creates) names.created.add(name)
        statements.push(analyzed.statement)
        unknownRelation ||= analyzed.unknownRelation
        reusable &&= analyzed.reusable
      }
      const first = statements[0]
      if (reusable && first !== undefined && shape !== undefined) cache.set(shape, [first])
      return { ok: true, statements, texts: parsed.statements.map(s => s.text), unknownRelation }
    },
  }
}
