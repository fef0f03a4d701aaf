import { Type as T } from 'typebox'
import type { Api, BaseDeps } from './deps.ts'
import { callerOf } from './guard.ts'

const Slack = T.Union([T.Object({ team_id: T.String(), user_id: T.String(), bound_at_ms: T.Integer() }), T.Null()])

const Answer = T.Object({
  subject: T.Object({
    id: T.String(),
    kind: T.String(),
    name: T.String(),
    email: T.Union([T.String(), T.Null()]),
    groups: T.Array(T.String()),
    groups_at_ms: T.Integer(),
  }),
  via: T.String(),
  token: T.Union([T.Object({ id: T.String(), scopes: T.Array(T.String()) }), T.Null()]),
  slack: Slack,
  deployment: T.String(),
})

/** What who asks reads. */
export type MeAnswer = T.Static<typeof Answer>

/** The caller's own profile and Slack account. */
export function meRoutes(app: Api, deps: BaseDeps): void {
  const { identity } = deps

  app.get(
    '/api/me',
    {
      config: { guard: { point: 'self' } },
      schema: {
        summary: 'Who calls',
        response: {
          200: Answer,
        },
      },
    },
    async request => {
      const { facts, via } = callerOf(request)
      const { id, kind, name, email, groups, groups_at_ms, token } = facts
      const slack = await identity.slackOf(id)
      return {
        subject: { id, kind, name, email, groups, groups_at_ms },
        via,
        token,
        slack,
        deployment: deps.config.deployment,
      }
    },
  )

  app.post(
    '/api/slack/link-code',
    {
      config: {
        guard: { point: 'self', interactive: true },
        rateLimit: { max: 10, timeWindow: '1 minute' },
      },
      schema: {
        summary: 'A code to type into Slack within two minutes: `/access link CODE`',
        response: { 200: T.Object({ code: T.String(), expires_at_ms: T.Integer() }) },
      },
    },
    request => identity.createLinkCode(callerOf(request).facts.id),
  )

  app.delete(
    '/api/slack/link',
    {
      config: { guard: { point: 'self', interactive: true } },
      schema: { summary: 'Unlink the caller’s Slack account', response: { 200: T.Object({ unlinked: T.Boolean() }) } },
    },
    async request => ({ unlinked: await identity.unbindSlack(callerOf(request).facts.id) }),
  )
}
