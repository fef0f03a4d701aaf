import { Type as T } from 'typebox'
import { knownGroups } from '../identity/known-groups.ts'
import { Throttle } from '../identity/throttle.ts'
import { explain } from '../policy/explain.ts'
import { getDecision } from '../policy/log/decision-store.ts'
import { ApprovalTerms } from '../policy/points.ts'
import { PastRevisions } from '../policy/weigh.ts'
import { ofOneDecision } from './decision-guard.ts'
import { decisionHead, headOf } from './decision-head.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'
import { callerOf } from './guard.ts'

const callsAMinute = 30
const Nullable = T.Union([T.String(), T.Null()])
const Answer = T.Object({
  ...decisionHead,
  digest: Nullable,
  subject: T.Union([
    T.Object({ id: T.String(), name: Nullable, email: Nullable, groups: T.Array(T.String()) }),
    T.Null(),
  ]),
  facts: T.Array(T.Object({ path: T.String(), value: T.String() })),
  rules: T.Array(
    T.Object({
      rule: T.String(),
      message: T.String(),
      remedy: T.Optional(T.String()),
      at: T.Optional(T.String()),
      source: T.Array(T.Object({ line: T.Integer(), text: T.String() })),
    }),
  ),
  approval: T.Union([ApprovalTerms, T.Null()]),
  instead: T.Array(
    T.Object({
      kind: T.String(),
      values: T.Array(T.String()),
      effect: T.String(),
      with: T.Optional(T.Object({ kind: T.String(), value: T.String() })), // only together with this
    }),
  ),
  weighed: T.Integer(),
  notes: T.Array(T.String()),
})

/** Why a decision came out as it did, and what would have been needed instead. */
export function explainRoutes(app: Api, deps: BaseDeps): void {
  const { db } = deps.database
  const revisions = new PastRevisions(deps.database)
  // Each of them asks some hundreds of questions of a policy, in the process that decides everybody's calls.
  const explained = new Throttle({ limit: callsAMinute, window_ms: 60_000 })

  app.get(
    '/api/decisions/:id/explanation',
    {
      config: {
        guard: ofOneDecision(db, 'decisions.explain'),
      },
      schema: {
        summary: 'Why: subject, input, rules with their source, and what would have been needed instead',
        params: T.Object({ id: T.String({ maxLength: 64 }) }, { additionalProperties: false }),
        response: { 200: Answer },
      },
    },
    async (request, reply) => {
      if (!explained.take(callerOf(request).facts.id))
        return sendError(
          reply,
          'rate_limited',
          `more than ${callsAMinute} explanations a minute were asked for`,
          'wait a minute; `sallyport decisions` shows the reasons of many decisions at once',
        )
      const row = await getDecision(db, request.params.id)
      if (row === undefined)
        return sendError(reply, 'not_found', 'there is no decision of this id', 'look at `sallyport decisions`')
      const revision = row.generation === null ? undefined : await revisions.get(row.generation)
      const { facts, rules, ...why } = await explain(row, revision, await knownGroups(db))
      return {
        ...headOf(row),
        digest: row.digest,
        subject: subjectIn(row.input, row.subject_id),
        facts: [...facts],
        rules: rules.map(({ remedy, at, ...rule }) => ({
          ...rule,
          source: [...rule.source],
          ...(remedy === undefined ? {} : { remedy }),
          ...(at === undefined ? {} : { at }),
        })),
        approval: why.approval,
        instead: why.instead.map(each => ({ ...each, values: [...each.values] })),
        weighed: why.weighed,
        notes: [...why.notes],
      }
    },
  )
}

/** As the decision knew them then; what was not kept is not said. */
function subjectIn(input: string, id: string | null) {
  if (id === null) return null
  const { subject } = (JSON.parse(input) ?? {}) as { subject?: Record<string, unknown> }
  const text = (value: unknown) => (typeof value === 'string' ? value : null)
  const groups = Array.isArray(subject?.['groups']) ? subject['groups'].filter(g => typeof g === 'string') : []
  return { id, name: text(subject?.['name']), email: text(subject?.['email']), groups: groups as string[] }
}
