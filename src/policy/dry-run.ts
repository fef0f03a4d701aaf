import { setImmediate as nextTurn } from 'node:timers/promises'
import { canonical, type Json } from '../canonical.ts'
import type { Bundle } from './bundle.ts'
import type { ProtocolCheck } from './gate.ts'
import type { Point } from './points.ts'
import type { Problem } from './problem.ts'
import { readResult, unsupported } from './results.ts'
import { sampleQuestions } from './samples.ts'
import { Evaluator } from './wasm.ts'

/** INVARIANT: a revision answers every point in its shape, and with nothing that this build cannot carry out. */
export async function dryRun(bundle: Bundle, protocols: ProtocolCheck): Promise<Problem[]> {
  const evaluator = new Evaluator(Buffer.from(bundle.wasm, 'base64'), canonical(bundle.data as Json))
  const problems: Problem[] = []
  for (const { point, input, label } of sampleQuestions(bundle.data)) {
    await nextTurn() // control has others to serve: a slow policy holds it for one evaluation at a time
    const file = `${point}/${point}.rego`
    const answer = evaluator.evaluate(point, canonical(input as Json))
    if (!answer.ok) problems.push({ code: answer.code, file, message: `${label}: ${answer.message}` })
    else if (answer.value === undefined)
      problems.push({ code: 'policy_undefined', file, message: `${label}: result is undefined` })
    else problems.push(...resultFaults(point, answer.value, label).map(fault => ({ file, ...fault })))
    const protocol = 'resource' in input && typeof input.resource === 'object' ? input.resource?.protocol : undefined
    if (
      point === 'masking' &&
      answer.ok &&
      protocol !== undefined &&
      hasRules(answer.value) &&
      !protocols.canMask(protocol)
    ) {
      problems.push({
        code: 'unsupported',
        file,
        message: `${label}: ${protocol} cannot mask, and a masking rule demands it`,
      })
    }
    if (point === 'recording' && protocols.keepsOriginals === false && answer.ok && sealsOriginals(answer.value)) {
      problems.push({
        code: 'unsupported',
        file,
        message: `${label}: originals: sealed, and this deployment names nobody who could open them: set recording.originals_recipients`,
      })
    }
    if (problems.length >= 20) break
  }
  return problems
}

function resultFaults(point: Point, value: unknown, label: string): { code: string; message: string }[] {
  const read = readResult(point, value)
  if ('problem' in read) return [{ code: 'policy_shape', message: `${label}: ${read.problem}` }]
  const cannot = unsupported(point, read.result)
  return cannot === undefined ? [] : [{ code: 'unsupported', message: `${label}: ${cannot}` }]
}

function hasRules(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'rules' in value &&
    Array.isArray(value.rules) &&
    value.rules.length > 0
  )
}

function sealsOriginals(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'originals' in value && value.originals === 'sealed'
}
