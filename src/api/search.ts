import { Type as T } from 'typebox'
import type { Api } from './deps.ts'
import { callerOf } from './guard.ts'
import { Instant } from './pages.ts'
import type { RecordingDeps } from './recordings.ts'

const closed = { additionalProperties: false }
const Named = T.Optional(T.String({ minLength: 1, maxLength: 256 }))
const Query = T.Object(
  {
    text: T.String({ minLength: 1, maxLength: 500 }),
    session: T.Optional(T.String({ pattern: '^ses_[0-9a-z]{26}$' })),
    subject: Named, // id, name or e-mail
    resource: Named,
    from_ms: Instant,
    to_ms: Instant,
    before: T.Optional(T.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
    limit: T.Optional(T.Integer({ minimum: 1, maximum: 100 })),
  },
  closed,
)
const Hit = T.Object({
  session_id: T.String(),
  subject: T.Object({ id: T.String(), name: T.String() }),
  own: T.Boolean(),
  resource: T.String(),
  role: T.String(),
  protocol: T.String(),
  started_at_ms: T.Integer(),
  at_ms: T.Integer(),
  part: T.Integer(),
  seq: T.Integer(),
  conn: T.String(),
  kind: T.String(),
  excerpt: T.String(),
})

/** What sessions said. The replay process looks, and decides `replay` for each recording that holds the words. */
export function searchRoutes(app: Api, { replay, identity }: RecordingDeps): void {
  app.get(
    '/api/search',
    {
      config: { guard: { point: 'replay' } },
      schema: {
        summary:
          'Statements, commands, paths, requests and errors of sessions, as far as the caller may open them; newest first',
        querystring: Query,
        response: { 200: T.Object({ items: T.Array(Hit), next: T.Union([T.Integer(), T.Null()]) }) },
      },
    },
    async request => {
      const { subject, ...query } = request.query
      const asked = Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]))
      if (subject !== undefined) {
        const [found, ...others] = await identity.listSubjects({ name: subject, limit: 2 })
        if (found === undefined || others.length > 0) return { items: [], next: null }
        asked['subject_id'] = found.id
      }
      const { items, next } = await replay.search(callerOf(request), asked)
      return { items: [...items], next }
    },
  )
}
