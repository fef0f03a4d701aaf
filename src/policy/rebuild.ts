import { digest } from '../canonical.ts'
import { type Bundle, bundleOpts } from './bundle.ts'
import { opaFacts, Workspace } from './compiler.ts'
import type { PolicyData } from './data-schema.ts'
import { type Point, points } from './points.ts'
import type { Sources } from './repository/sources.ts'
import { readRules } from './rules.ts'

/** A bundle that was built again, and OPA's own evaluator beside it. */
export interface Rebuilt extends Disposable {
  readonly bundle: Bundle
  /** What `opa eval` says of a point, undefined where its result is. */
  evaluate(point: Point, input: string): Promise<unknown>
}

/** The order of the entry points is part of the digest (gate.ts builds with the same). */
export const entryPoints: readonly string[] = (Object.keys(points) as Point[])
  .sort()
  .map(point => `sallyport/${point}/result`)

/**
 * Builds the bundle of a commit again as its activation did, and judges nothing: a commit that passed the gate of its day
 * may not pass today's, and its decisions must be computable all the same.
 * @throws Refused for sources that do not compile.
 */
export async function rebuild(sources: Sources, opa: string): Promise<Rebuilt> {
  const facts = await opaFacts(opa)
  const workspace = new Workspace(facts, sources)
  try {
    const modules = [...sources.keys()].filter(path => path.endsWith('.rego') && !path.endsWith('_test.rego'))
    const trees = await workspace.parse(modules)
    const { rules, defaults, needs } = readRules(trees)
    const { wasm, data } = await workspace.build(entryPoints, false)
    const bundle: Bundle = {
      opa: facts.version,
      opts: bundleOpts,
      caps: digest(facts.capabilities),
      data: data as PolicyData,
      wasm: wasm.toString('base64'),
      meta: { rules, defaults, needs: [...needs] },
    }
    return {
      bundle,
      evaluate: (point, input) => workspace.evaluate(`data.sallyport.${point}.result`, input),
      [Symbol.dispose]: () => workspace[Symbol.dispose](),
    }
  } catch (error) {
    workspace[Symbol.dispose]()
    throw error
  }
}
