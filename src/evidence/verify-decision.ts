import type { KeyObject } from 'node:crypto'
import { leafHash, verifyInclusion } from '../audit/merkle.ts'
import { canonical, digest, type Json } from '../canonical.ts'
import { faultsOf } from '../faults.ts'
import { bundleDigest } from '../policy/bundle.ts'
import { derivedDecisionId } from '../policy/decision-id.ts'
import { type Answer, judge } from '../policy/judge.ts'
import { decisionLeaf } from '../policy/log/decision-leaf.ts'
import { type DecisionProof, DecisionProofSchema } from '../policy/log/decision-proof.ts'
import type { StoredDecision } from '../policy/log/decision-store.ts'
import { withoutClaims } from '../policy/log/hidden.ts'
import { type Point, points } from '../policy/points.ts'
import { problemText, Refused } from '../policy/problem.ts'
import { type Rebuilt, rebuild } from '../policy/rebuild.ts'
import type { Sources } from '../policy/repository/sources.ts'
import { isInput, sortSets } from '../policy/results.ts'
import { verifyRevision } from '../policy/signing.ts'
import { Evaluator } from '../policy/wasm.ts'
import { Findings, type FindingsReport } from './findings.ts'
import { verifyProof } from './verify.ts'

export interface VerifyDecisionOptions {
  /** The sources of the commit that the decision names. @returns null where they cannot be had. */
  readonly sources: (of: { generation: number; commit: string }) => Promise<{ sources: Sources; from: string } | null>
  /** The `opa` command. */
  readonly opa: string
  /** The audit log's key and control's key for revisions, from a source that the reader trusts. */
  readonly vkey?: string | undefined
  readonly bundles?: KeyObject | undefined
  /** The deployment's `oidc.max_groups_age_s`, where the reader knows it. */
  readonly max_groups_age_s?: number | undefined
}

export type DecisionReport = FindingsReport

type Decision = DecisionProof['decision']

/** Codes that come of the process's state when it was asked, and not of the question. */
const ofTheMoment: Readonly<Record<string, string>> = {
  policy_missing: 'no revision was in force then, so there is nothing to compute it from',
  policy_stale: 'the process was behind its revision then; that is no property of the question',
  policy_aged: 'the policy in force was older than the deployment allowed then; that is no property of the question',
  input_invalid: 'the question could not be read then, and was not kept',
  input_too_large: 'the question was too large to be judged then, and was not kept',
}
/** Points at which the age of groups counts. */
const byPeople: ReadonlySet<string> = new Set(['access', 'approve', 'admin', 'replay'])
/** Denials of which OPA's own evaluator knows nothing: bounds of ours. */
const ourBounds: ReadonlySet<string> = new Set(['policy_fuel', 'policy_memory', 'policy_error'])

/**
 * Computes a decision again from a commit and says what was proved and what was not: the bundle and its digest, the answer
 * in the module that is enforced and in OPA's own evaluator, the leaf of the audit log. It writes nothing and asks nobody.
 */
export async function verifyDecision(file: unknown, options: VerifyDecisionOptions): Promise<DecisionReport> {
  const wrong = faultsOf(DecisionProofSchema, file)
  const found = new Findings()
  if (wrong.length > 0) {
    found.flaws.push(`this is no proof of a decision: ${wrong.slice(0, 5).join('; ')}`)
    return found.report()
  }
  const proof = file as DecisionProof
  checkLeaf(proof, options, found)
  const input = checkInput(proof.decision, found)
  checkId(proof.decision, found)
  checkRevision(proof, options, found)
  const rebuilt = await rebuildFor(proof, options, found)
  if (rebuilt === undefined) return found.report()
  try {
    if (input !== undefined) await compute(proof.decision, input, rebuilt, options, found)
  } finally {
    rebuilt[Symbol.dispose]()
  }
  return found.report()
}

/** The leaf is made anew from what is shown, so whatever was changed since has another hash. */
function checkLeaf(
  { decision, batch, unproved }: DecisionProof,
  options: VerifyDecisionOptions,
  found: Findings,
): void {
  if (batch === null) {
    found.not_proved.push(`that this decision stands in the audit log: ${unproved ?? 'no leaf was given'}`)
    return
  }
  const event = verifyProof(batch.event, { vkey: options.vkey })
  found.flaws.push(...event.problems.map(problem => `the audit log: ${problem}`))
  if (!event.ok) return
  const { body } = batch.event as { body: string | null }
  const said = body === null ? null : (JSON.parse(body) as { root?: unknown; count?: unknown })
  const leaf = Buffer.from(decisionLeaf(decision as unknown as StoredDecision))
  const path = batch.path.map(hash => Buffer.from(hash, 'base64'))
  const root = Buffer.from(typeof said?.root === 'string' ? said.root : '', 'hex')
  const inside = said?.count === batch.size && verifyInclusion(leafHash(leaf), batch.index, batch.size, path, root)
  found.demand(
    inside,
    `what is shown of the decision is, byte for byte, leaf ${batch.index} of a batch of ${batch.size} that the audit log holds`,
    'what is shown of the decision is NOT the leaf that the audit log holds: it was changed after it was written down',
  )
  if (inside) found.proved.push(...event.proved)
  found.not_proved.push(...event.not_proved)
}

/** @returns the input as it can be judged again; undefined where it cannot. */
export function checkInput(decision: Decision, found: Findings): unknown {
  if (Object.hasOwn(ofTheMoment, decision.code)) {
    found.not_proved.push(`the answer (${decision.code}): ${ofTheMoment[decision.code]}`)
    return undefined
  }
  const hidden = [...decision.erased, ...decision.masked].filter(path => /^\/(input|result)(\/|$)/.test(path))
  const input = JSON.parse(decision.input) as unknown
  if (hidden.length === 0) {
    const same = found.demand(
      digest(decision.input) === decision.input_digest,
      'the input is the one that was judged: its digest is the one written down with the decision',
      'the input is NOT the one that was judged: its digest is another',
    )
    return same ? input : undefined
  }
  const restored = withoutClaims(input, hidden)
  found.not_proved.push(
    restored === undefined
      ? `the answer: ${hidden.join(', ')} was erased, or the log was told to leave it out, so it cannot be computed again`
      : `that claims of the identity provider made no difference: the log was told to leave out ${hidden.join(', ')}, so it is computed without them`,
  )
  return restored
}

function checkId(decision: Decision, found: Findings): void {
  const { point, code, generation, session_id, input_digest } = decision
  const id = derivedDecisionId(point, code, generation, session_id, input_digest)
  if (id === undefined) return
  found.demand(
    id === decision.id,
    'the id follows from session, revision, input and code',
    'the id does NOT follow from session, revision, input and code',
  )
}

function checkRevision({ decision, revision }: DecisionProof, options: VerifyDecisionOptions, found: Findings): void {
  if (revision === null) return
  const same = (['generation', 'commit', 'digest'] as const).every(name => revision[name] === decision[name])
  if (!same) found.flaws.push(`the decision names another revision than generation ${revision.generation} is`)
  if (options.bundles === undefined) {
    found.not_proved.push('that control signed this revision: give its public key with --bundles-key')
    return
  }
  found.demand(
    verifyRevision(revision, Buffer.from(revision.signature, 'base64'), options.bundles),
    `control signed generation ${revision.generation} as commit ${revision.commit}`,
    `generation ${revision.generation} has NO valid signature of the key that you gave`,
  )
}

async function rebuildFor(
  { decision, revision }: DecisionProof,
  options: VerifyDecisionOptions,
  found: Findings,
): Promise<Rebuilt | undefined> {
  const { generation, commit, digest: written } = decision
  if (generation === null || commit === null || written === null) return undefined
  const had = await options.sources({ generation, commit })
  if (had === null) {
    found.not_proved.push(
      `that commit ${commit} gives this answer: its sources are not at hand; name a repository with --repo`,
    )
    return undefined
  }
  try {
    const rebuilt = await rebuild(had.sources, options.opa)
    const built = `built with opa ${rebuilt.bundle.opa}, and it was built with ${revision?.opa_version ?? 'an unknown version'}`
    const equal = found.demand(
      bundleDigest(rebuilt.bundle) === written,
      `commit ${commit} (${had.from}) compiles to the bundle with the digest that decided: ${written}`,
      `commit ${commit} (${had.from}) does NOT compile to the digest ${written} (${built})`,
    )
    if (equal) return rebuilt
    rebuilt[Symbol.dispose]()
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    found.flaws.push(`commit ${commit} (${had.from}) does not compile: ${error.problems.map(problemText).join('; ')}`)
  }
  return undefined
}

/** @param second whether OPA's own evaluator is asked too, which takes a process. */
export async function compute(
  decision: Decision,
  input: unknown,
  rebuilt: Rebuilt,
  options: Pick<VerifyDecisionOptions, 'max_groups_age_s'>,
  found: Findings,
  second = true,
): Promise<void> {
  const point = decision.point as Point
  if (!Object.hasOwn(points, point) || !isInput(point, input)) {
    found.not_proved.push(
      `the answer: this version of sallyport judges no such input at ${decision.point}; use that of its day`,
    )
    return
  }
  const { bundle } = rebuilt
  const knowsAge = options.max_groups_age_s !== undefined
  if (decision.code === 'groups_stale' && !knowsAge) {
    found.not_proved.push(
      'that the groups were too old: that depends on the setting oidc.max_groups_age_s; give it with --max-groups-age',
    )
    return
  }
  const text = canonical(input as Json)
  const answer = judge(point, input, text, {
    evaluator: new Evaluator(Buffer.from(bundle.wasm, 'base64'), canonical(bundle.data as Json)),
    meta: bundle.meta,
    commit: decision.commit!,
    max_groups_age_s: knowsAge ? options.max_groups_age_s! : Number.POSITIVE_INFINITY,
  })
  const result = canonical(answer.result as unknown as Json)
  found.demand(
    answer.effect === decision.effect && answer.code === decision.code && sameReasons(answer, decision),
    `computed again, the answer is the same: ${said(decision)}`,
    `computed again, the answer is ANOTHER: ${said(answer)}, and ${said(decision)} was written down`,
  )
  found.demand(
    result === decision.result,
    'computed again, the result is the same, byte for byte',
    `computed again, the result is ANOTHER: ${result.slice(0, 500)}`,
  )
  if (!knowsAge && byPeople.has(point))
    found.not_proved.push('that the groups were fresh enough: that is a setting of the deployment')
  if (second) await askSecondJudge(decision, text, answer, rebuilt, found)
}

/** OPA's own evaluator shares no code with the module that is enforced. */
async function askSecondJudge(
  decision: Decision,
  text: string,
  answer: Answer,
  rebuilt: Rebuilt,
  found: Findings,
): Promise<void> {
  if (answer.code === 'token_scope' || answer.code === 'groups_stale') {
    found.not_proved.push('a second judge: this was refused before policy was asked')
    return
  }
  if (ourBounds.has(answer.code)) {
    found.not_proved.push(`a second judge: ${answer.code} is a bound of ours, and opa eval has others`)
    return
  }
  try {
    const value = await rebuilt.evaluate(decision.point as Point, text)
    // What was refused for its shape was never stored as a result.
    const theirs = value === undefined || answer.code === 'policy_shape' ? 'null' : canonical(sortSets(value) as Json)
    found.demand(
      theirs === decision.result,
      'a second judge agrees: `opa eval` of the same commit gives the same result, sets put in order',
      `a second judge DISAGREES: \`opa eval\` gives ${theirs.slice(0, 500)}`,
    )
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    found.flaws.push(`a second judge fails: ${error.problems.map(problemText).join('; ').slice(0, 500)}`)
  }
}

function sameReasons(answer: Answer, decision: Decision): boolean {
  return canonical(answer.reasons as unknown as Json) === canonical(decision.reasons as unknown as Json)
}

function said({
  effect,
  code,
  reasons,
}: Pick<Decision, 'effect' | 'code'> & { reasons: readonly { rule: string; at?: string | undefined }[] }): string {
  const by = reasons.map(reason => `${reason.rule}${reason.at === undefined ? '' : ` (${reason.at})`}`)
  return `${effect}${code === 'policy' ? '' : ` (${code})`}${by.length === 0 ? '' : ` by ${by.join(', ')}`}`
}
