import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { Approvals } from '../approvals/approvals.ts'
import type { SubjectFacts } from '../identity/facts.ts'
import { knownGroups } from '../identity/known-groups.ts'
import { groupsSaid } from '../policy/explain.ts'
import { Pace } from '../policy/pace.ts'
import { type AccessPlan, type Asking, accessPlan, type RolePlan, rolePlan, rolesNamed } from '../policy/plan.ts'
import { ApprovalTerms, MaskRule, RecordingResult, ReviewTerms } from '../policy/points.ts'
import { type Resources, resourceFacts } from '../policy/resources.ts'
import { revisionSources } from '../policy/revision-sources.ts'
import type { Weigh } from '../policy/weigh.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'
import { callerOf } from './guard.ts'
import { clientOf } from './pages.ts'

export interface PlanDeps extends BaseDeps {
  readonly resources: Pick<Resources, 'get'>
  readonly approvals: Pick<Approvals, 'accessFacts'>
}

const closed = { additionalProperties: false }
const Name = T.String({ minLength: 1, maxLength: 256 })
const OrNull = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])
const Access = {
  role: T.String(),
  effect: T.String(),
  code: T.String(),
  reasons: T.Array(
    T.Object({ rule: T.String(), message: T.String(), remedy: T.Optional(T.String()), at: T.Optional(T.String()) }),
  ),
  approval: OrNull(ApprovalTerms),
  max_s: OrNull(T.Integer()),
  review: OrNull(ReviewTerms),
  session: OrNull(
    T.Object({
      max_s: T.Integer(),
      idle_s: T.Integer(),
      max_connections: T.Integer(),
      from: T.Array(T.String()),
      moderators: T.Optional(T.Array(T.String())),
    }),
  ),
}
const Revision = T.Object({ generation: T.Integer(), commit: T.String() })
const maxGroups = 200
const longestPlan_ms = 5_000

/** What would be answered, without asking for anything: nobody gets a Permit, and nothing of it is a Decision. */
export function planRoutes(app: Api, deps: PlanDeps): void {
  const weigh: Weigh = (point, input) => deps.engine.weigh(point, input)
  const askingOf = (request: FastifyRequest, subject: SubjectFacts, resource: string): Asking | undefined => {
    const found = deps.resources.get(resource)
    return (
      found && {
        subject,
        resource: resourceFacts(found),
        client: clientOf(request),
        now_ms: deps.now(),
        zone: deps.config.zone,
      }
    )
  }

  app.get(
    '/api/can-i',
    {
      config: {
        guard: { point: 'admin', call: 'access.can_i', own: () => true, target: queryOf },
      },
      schema: {
        summary: 'Whether the caller has, or would get, a role on a resource now',
        querystring: T.Object({ resource: Name, role: Name }, closed),
        response: {
          200: T.Object({
            resource: T.String(),
            ...Access,
            held_until_ms: OrNull(T.Integer()),
            others: T.Array(T.Object({ role: T.String(), effect: T.String() })),
          }),
        },
      },
    },
    async (request, reply) => {
      const { resource, role } = request.query
      const { facts } = callerOf(request)
      const asking = askingOf(request, facts, resource)
      const { data } = deps.engine
      if (asking === undefined || data === null)
        return sendError(reply, 'not_found', `there is no resource ${resource}`, 'look at `sallyport resources`')
      const plan = accessPlan(weigh, asking, role, data)
      const [held] = await deps.approvals.accessFacts({
        subject_id: facts.id,
        on_behalf_of: facts.on_behalf_of,
        resource,
        role,
      })
      const others = rolesNamed(data)
        .filter(other => other !== role)
        .map(other => ({ role: other, effect: accessPlan(weigh, asking, other, data).effect }))
        .filter(other => other.effect !== 'deny')
      return { resource, ...answerOf(plan), held_until_ms: held?.ends_at_ms ?? null, others }
    },
  )

  app.get(
    '/api/policy/plan',
    {
      config: { guard: { point: 'admin', call: 'policy.plan', target: queryOf } },
      schema: {
        summary: 'What applies to a subject on a resource: who approves, how it is recorded, masked, kept and replayed',
        querystring: T.Object({ subject: Name, resource: Name, role: T.Optional(Name) }, closed),
        response: {
          200: T.Object({
            revision: OrNull(Revision),
            subject: T.Object({ id: T.String(), name: T.String(), groups: T.Array(T.String()) }),
            resource: T.Object({
              name: T.String(),
              protocol: T.String(),
              address: T.String(),
              labels: T.Record(T.String(), T.String()),
            }),
            roles: T.Array(
              T.Object({
                ...Access,
                recording: OrNull(RecordingResult),
                masks: OrNull(T.Array(MaskRule)),
                keep_s: OrNull(T.Integer()),
                replay: T.Object({
                  own: T.String(),
                  groups: T.Array(T.Object({ group: T.String(), view: T.String() })),
                }),
              }),
            ),
            logs: T.Array(T.Object({ class: T.String(), keep_s: OrNull(T.Integer()) })),
          }),
        },
      },
    },
    async (request, reply) => {
      const { subject: named, resource, role } = request.query
      const [one, ...others] = await deps.identity.listSubjects({ name: named, limit: 10 })
      if (one === undefined)
        return sendError(reply, 'not_found', `nobody here is called ${named}`, 'look at `sallyport subjects`')
      if (others.length > 0) {
        const ids = [one, ...others].map(each => `${each.id} (${each.email ?? each.name})`).join(', ')
        return sendError(reply, 'conflict', `${named} may be any of these: ${ids}`, 'name the one you mean by its id')
      }
      const facts = await deps.identity.subjectFacts(one.id)
      if (facts === null)
        return sendError(reply, 'conflict', `${one.name} is disabled: nothing applies to them`, 'enable them first')
      const asking = askingOf(request, facts, resource)
      const { data, revision } = deps.engine
      if (asking === undefined || data === null)
        return sendError(reply, 'not_found', `policy declares no resource ${resource}`, 'look at resources/data.yaml')
      const sources = revision === null ? undefined : await revisionSources(deps.database.db, revision.generation)
      const said = groupsSaid(sources?.sources ?? new Map())
      const groups = [
        ...new Set([...(await knownGroups(deps.database.db)), ...Object.keys(data.roles), ...said]),
      ].sort()
      const roles = role === undefined ? rolesNamed(data) : [role]
      const logs = ['sessions', 'requests', 'decisions'].map(name => {
        const { result } = weigh('retention', { class: name, recording: null })
        return { class: name, keep_s: result === null || result.legal_hold ? null : result.keep_s }
      })
      const pace = new Pace(longestPlan_ms)
      const plans: RolePlan[] = []
      for (const each of roles) plans.push(await rolePlan(weigh, asking, each, data, groups.slice(0, maxGroups), pace))
      if (deps.engine.revision?.generation !== revision?.generation)
        return sendError(reply, 'conflict', 'another revision came into force meanwhile', 'ask again')
      return {
        revision: revision && { generation: revision.generation, commit: revision.commit },
        subject: { id: facts.id, name: facts.name, groups: [...facts.groups] },
        resource: { ...asking.resource },
        roles: plans.map(({ masks, replay, ...plan }) => ({
          ...answerOf(plan),
          recording: plan.recording,
          keep_s: plan.keep_s,
          masks: masks && [...masks],
          replay: { own: replay.own, groups: [...replay.groups] },
        })),
        logs,
      }
    },
  )
}

function answerOf({ role, effect, code, reasons, approval, max_s, review, session }: AccessPlan) {
  return { role, effect, code, reasons: [...reasons], approval, max_s, review, session }
}

const queryOf = (request: FastifyRequest): Record<string, string> => ({ ...(request.query as Record<string, string>) })
