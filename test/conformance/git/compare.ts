import { type Reason, reasons } from './reasons.ts'
import type { Ran } from './script.ts'

/** One test that did not go as it does straight to the server. */
export interface Difference {
  readonly script: string
  readonly number: number
  readonly title: string
  readonly direct: string
  readonly through: string
  /** Null: nobody has found out yet. */
  readonly reason: Reason | null
}

export interface Compared {
  readonly script: string
  readonly direct: Ran
  readonly through: Ran
  readonly same: { readonly pass: number; readonly fail: number; readonly known: number; readonly skipped: number }
  readonly differences: readonly Difference[]
}

export function compare(script: string, direct: Ran, through: Ran): Compared {
  const same = { pass: 0, fail: 0, known: 0, skipped: 0 }
  const differences: Difference[] = []
  const numbers = [...new Set([...direct.tests.keys(), ...through.tests.keys()])].sort((a, b) => a - b)
  for (const number of numbers) {
    const [a, b] = [direct.tests.get(number), through.tests.get(number)]
    if (a?.outcome === b?.outcome && a !== undefined) {
      if (a.outcome === 'pass') same.pass++
      else if (a.outcome === 'skipped') same.skipped++
      else if (a.outcome === 'fail') same.fail++
      else same.known++
      continue
    }
    const title = (a ?? b)!.title
    differences.push({
      script,
      number,
      title,
      direct: a?.outcome ?? 'did not run',
      through: b?.outcome ?? 'did not run',
      reason: reasons.find(each => each.script === script && each.tests.includes(title)) ?? null,
    })
  }
  return { script, direct, through, same, differences }
}
