import { setImmediate as nextTurn } from 'node:timers/promises'
import type { PolicyData } from '../data-schema.ts'
import type { Problem } from '../problem.ts'
import { Candidates } from './candidates.ts'
import { lintFields } from './fields.ts'
import { Findings } from './findings.ts'
import { Flow, TooTangled } from './flow.ts'
import { lintLabels } from './labels.ts'
import { lintLibraries } from './libraries.ts'
import { Program } from './program.ts'
import { lintWords } from './words.ts'
import { lintWritten } from './written.ts'

export interface Linted {
  readonly problems: readonly Problem[]
  /** Labels that policies read and no resource has: warnings. */
  labels(data: PolicyData): readonly Problem[]
}

const tangled = 'the policies are too tangled to be checked within limits: write them plainer'

/**
 * What OPA's schema check does not see: fields read through parameters, `object.get` and data documents, comparisons with
 * a word that a field never has, misspelt members of what tests pass and of what points answer.
 * @param trees syntax trees by path, tests too.
 */
export async function lint(trees: ReadonlyMap<string, unknown>): Promise<Linted> {
  const findings = new Findings()
  try {
    const flow = new Flow(new Program(trees))
    const candidates = new Candidates(flow)
    await nextTurn()
    lintFields(flow, findings)
    lintLibraries(flow, findings)
    await nextTurn()
    lintWords(flow, candidates, findings)
    await nextTurn()
    lintWritten(flow, candidates, findings)
    return { problems: findings.list(), labels: data => bounded(() => lintLabels(flow, data)) }
  } catch (error) {
    return { problems: tooTangled(error), labels: () => [] }
  }
}

function bounded(run: () => Problem[]): Problem[] {
  try {
    return run()
  } catch (error) {
    return tooTangled(error)
  }
}

/** @throws what is no limit. */
function tooTangled(error: unknown): Problem[] {
  if (!(error instanceof TooTangled || error instanceof RangeError)) throw error
  return [{ code: 'lint_limits', message: tangled }]
}
