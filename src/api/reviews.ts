import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { Approvals } from '../approvals/approvals.ts'
import { bounds } from '../approvals/bounds.ts'
import { listReviews, type ReviewView, readReview } from '../approvals/review-view.ts'
import { sessionsOfGrants } from '../sessions/view.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError, sendRefused } from './errors.ts'
import { callerOf } from './guard.ts'
import { clientOf, defaultLimit, pageOf, pageQuery, seesAll } from './pages.ts'

export interface ReviewDeps extends BaseDeps {
  readonly approvals: Approvals
}

const closed = { additionalProperties: false }
const OrNull = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])
const byId = { params: T.Object({ id: T.String({ maxLength: 64 }) }, closed) }
const Who = T.Object({ id: T.String(), name: T.String() })
const View = T.Object({
  id: T.String(),
  grant_id: T.String(),
  request_id: T.String(),
  subject: T.Object({ ...Who.properties, email: OrNull(T.String()) }),
  on_behalf_of: OrNull(T.String()),
  resource: T.String(),
  role: T.String(),
  reason: T.String(),
  ticket_ref: OrNull(T.String()),
  state: T.String(),
  reviewers: T.Array(T.String()),
  channel: T.String(),
  opened_at_ms: T.Integer(),
  ends_at_ms: T.Integer(),
  due_at_ms: T.Integer(),
  overdue_at_ms: OrNull(T.Integer()),
  sessions: T.Array(T.String()),
  answer: OrNull(T.Object({ answer: T.String(), by: Who, at_ms: T.Integer(), reason: T.String(), via: T.String() })),
})

/** What who asks reads of a review. */
export type ReviewEntry = T.Static<typeof View>

/** What has to be looked at afterwards, and the answers. */
export function reviewRoutes(app: Api, deps: ReviewDeps): void {
  const { db } = deps.database
  const found = (request: FastifyRequest) => readReview(db, (request.params as { id: string }).id)

  app.get(
    '/api/reviews',
    {
      config: { guard: { point: 'admin', call: 'reviews.list', own: () => true } },
      schema: {
        summary:
          'Reviews about the caller, those that the caller is to answer, and with the right to it all; newest first',
        querystring: T.Object(
          { state: T.Optional(T.Union([T.Literal('open'), T.Literal('answered')])), ...pageQuery },
          closed,
        ),
        response: { 200: T.Object({ items: T.Array(View), next: OrNull(T.String()) }) },
      },
    },
    async request => {
      const { state, limit = defaultLimit, cursor } = request.query
      const of = seesAll(deps, request, 'reviews.list') ? undefined : callerOf(request).facts
      return pageOf(await shown(await listReviews(db, { state, of, limit, before: cursor })), limit)
    },
  )

  app.get(
    '/api/reviews/:id',
    {
      config: {
        guard: {
          point: 'admin',
          call: 'reviews.read',
          target: async request => {
            const review = await found(request)
            const about = review && { resource: review.resource, role: review.role, subject: review.subject.id }
            return { review: (request.params as { id: string }).id, ...about }
          },
          own: async (request, caller) => {
            const review = await found(request)
            return review !== undefined && isTheirs(review, caller.facts)
          },
        },
      },
      schema: { summary: 'One review with the sessions of its grant', ...byId, response: { 200: View } },
    },
    async (request, reply) => {
      const review = await found(request)
      return review === undefined ? absent(reply) : (await shown([review]))[0]!
    },
  )

  app.post(
    '/api/reviews/:id/answer',
    {
      config: { guard: { point: 'approve' } },
      schema: {
        summary: 'Accept what was done under a grant, or flag it; never what one did oneself',
        ...byId,
        body: T.Object(
          {
            answer: T.Union([T.Literal('accept'), T.Literal('flag')]),
            reason: T.String({ minLength: 1, maxLength: bounds.reason }),
          },
          closed,
        ),
        response: { 200: View },
      },
    },
    async (request, reply) => {
      const reviewed = await deps.approvals.answerReview({
        ...request.body,
        review_id: request.params.id,
        reviewer: callerOf(request).facts,
        via: clientOf(request).via,
      })
      if (reviewed.refused) return sendRefused(reply, reviewed)
      const review = await found(request)
      return review === undefined ? absent(reply) : (await shown([review]))[0]!
    },
  )

  async function shown(list: readonly ReviewView[]) {
    const sessions = await sessionsOfGrants(
      db,
      list.map(each => each.grant_id),
    )
    return list.map(each => ({
      ...each,
      reviewers: [...each.reviewers],
      sessions: sessions.get(each.grant_id) ?? [],
    }))
  }
}

/** Whom it is about, and who is to answer it. */
function isTheirs(review: ReviewView, { id, groups }: { readonly id: string; readonly groups: readonly string[] }) {
  return (
    [review.subject.id, review.on_behalf_of].includes(id) ||
    [id, ...groups].some(name => review.reviewers.includes(name))
  )
}

function absent(reply: FastifyReply): FastifyReply {
  return sendError(reply, 'not_found', 'there is no review of this id', 'look at `sallyport reviews`')
}
