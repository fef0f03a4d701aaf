import { bundleDigest } from '../policy/bundle.ts'
import { problemText, Refused } from '../policy/problem.ts'
import { type Rebuilt, rebuild } from '../policy/rebuild.ts'
import { unpackSources } from '../policy/revision-sources.ts'
import { readArchive } from './archive.ts'
import type { DecisionLine } from './decision-lines.ts'
import { Findings } from './findings.ts'
import { mostBytes } from './format.ts'
import { type BundleReport, verifyBundle } from './verify-bundle.ts'
import { checkInput, compute } from './verify-decision.ts'

/** Decisions alike in point, answer and rules are put before the second judge once; no more than so many. */
const mostJudged = 100

/**
 * Verifies a bundle, then computes each of its decisions again from the sources in it: in the module that is enforced, and
 * by `opa eval`, which shares no code with it. It compiles what the bundle carries, within the bounds of the policy gate.
 * @param read the bundle, from its beginning each time.
 */
export async function recomputeBundle(
  read: () => AsyncIterable<Uint8Array>,
  options: {
    readonly vkey?: string | undefined
    readonly witnesses?: readonly string[] | undefined
    readonly opa: string
  },
): Promise<BundleReport> {
  const facts = new Map<number, { digest: string; opa_version: string }>()
  const sources = new Map<number, Buffer>()
  const report = await verifyBundle(read(), {
    vkey: options.vkey,
    witnesses: options.witnesses,
    onFile: ({ name, content }) => {
      const [, number, kind] = /^revisions\/(\d{1,9})\.(json|tar\.gz)$/.exec(name) ?? []
      if (kind === 'json') facts.set(Number(number), JSON.parse(content.toString('utf8')))
      if (kind === 'tar.gz') sources.set(Number(number), content)
    },
  })
  if (!report.ok) return report
  const found = new Findings()
  const again = new Again(facts, sources, options.opa, found)
  try {
    for await (const { name, content } of readArchive(read(), mostBytes)) {
      if (!name.startsWith('decisions/')) continue
      for (const text of content.toString('utf8').split('\n'))
        if (text !== '') await again.decision((JSON.parse(text) as DecisionLine).decision)
    }
  } finally {
    again.end()
  }
  const said = found.report()
  const proved = [...report.proved, ...said.proved]
  const not_proved = [...report.not_proved.filter(text => !text.includes('--recompute')), ...said.not_proved]
  return said.ok
    ? { ...report, proved, not_proved }
    : { ...report, ...said, proved: [], not_proved: ['anything at all, as long as there is a flaw'] }
}

class Again {
  readonly #facts: ReadonlyMap<number, { readonly digest: string; readonly opa_version: string }>
  readonly #sources: ReadonlyMap<number, Buffer>
  readonly #opa: string
  readonly #found: Findings
  readonly #rebuilt = new Map<number, Rebuilt | null>()
  readonly #judged = new Set<string>()
  #computed = 0
  #second = 0
  #not = 0

  constructor(facts: Again['facts'], sources: ReadonlyMap<number, Buffer>, opa: string, found: Findings) {
    this.#facts = facts
    this.#sources = sources
    this.#opa = opa
    this.#found = found
  }

  get facts(): ReadonlyMap<number, { readonly digest: string; readonly opa_version: string }> {
    return this.#facts
  }

  async decision(decision: DecisionLine['decision']): Promise<void> {
    const rebuilt = decision.generation === null ? null : await this.#rebuild(decision.generation)
    const one = new Findings()
    const input = checkInput(decision, one)
    if (rebuilt === null || input === undefined) {
      this.#not++
    } else {
      const alike = [
        decision.generation,
        decision.point,
        decision.code,
        decision.effect,
        ...decision.reasons.map(reason => reason.rule),
      ].join(' ')
      const second = !this.#judged.has(alike) && this.#judged.size < mostJudged
      if (second) this.#judged.add(alike)
      await compute(decision, input, rebuilt, {}, one, second)
      if (one.proved.length > 0 || one.flaws.length > 0) this.#computed++
      else this.#not++
      if (one.proved.some(text => text.startsWith('a second judge'))) this.#second++
    }
    for (const flaw of one.flaws) this.#found.flaw(`decision ${decision.id}: ${flaw}`)
  }

  async #rebuild(generation: number): Promise<Rebuilt | null> {
    const known = this.#rebuilt.get(generation)
    if (known !== undefined) return known
    const archive = this.#sources.get(generation)
    const written = this.#facts.get(generation)
    let rebuilt: Rebuilt | null = null
    if (archive === undefined || written === undefined)
      this.#found.not_proved.push(`that generation ${generation} gives its answers: its sources are not in the bundle`)
    else
      try {
        rebuilt = await rebuild(unpackSources(archive), this.#opa)
        const same = this.#found.demand(
          bundleDigest(rebuilt.bundle) === written.digest,
          `the sources of generation ${generation} compile to the bundle with the digest that decided: ${written.digest}`,
          `the sources of generation ${generation} do NOT compile to the digest ${written.digest} (with opa ${rebuilt.bundle.opa}; it was built with ${written.opa_version})`,
        )
        if (!same) rebuilt = null
      } catch (error) {
        const why = error instanceof Refused ? error.problems.map(problemText).join('; ') : (error as Error).message
        this.#found.flaw(`the sources of generation ${generation} do not compile: ${why.slice(0, 500)}`)
      }
    this.#rebuilt.set(generation, rebuilt)
    return rebuilt
  }

  end(): void {
    for (const rebuilt of this.#rebuilt.values()) rebuilt?.[Symbol.dispose]()
    if (this.#computed > 0)
      this.#found.proved.push(
        `${this.#computed} decisions, computed again from their inputs and these sources, have the same answer and the same result`,
      )
    if (this.#second > 0)
      this.#found.proved.push(`a second judge, \`opa eval\`, agrees on ${this.#second} of them, one of each kind`)
    if (this.#not > 0)
      this.#found.not_proved.push(`the answers of ${this.#not} decisions: their input or their policy is not here`)
  }
}
