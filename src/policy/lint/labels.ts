import type { PolicyData } from '../data-schema.ts'
import type { Problem } from '../problem.ts'
import { Findings } from './findings.ts'
import type { Flow } from './flow.ts'
import { meant } from './meant.ts'

/** Labels are the deployment's own words: one that no resource has may be there tomorrow, so it is worth a look, no more. */
export function lintLabels(flow: Flow, data: PolicyData): Problem[] {
  const known = new Set(Object.values(data.resources).flatMap(({ labels }) => Object.keys(labels)))
  const findings = new Findings()
  const told = new Map<string, string>() // to look for the nearest of many labels takes time
  for (const { term, scope } of flow.program.references) {
    if (findings.full) break
    if (scope.module.test) continue
    for (const { from, by, name } of flow.stepsOf(term, scope)) {
      if (name === undefined || !from.at.endsWith('.labels') || known.has(name)) continue
      const message = told.get(name) ?? `no resource has the label ${name}: ${meant(name, known)}`
      told.set(name, message)
      findings.add('label', by, scope, message)
    }
  }
  return findings.list()
}
