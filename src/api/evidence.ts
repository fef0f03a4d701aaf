import { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import { SallyportError } from '../errors.ts'
import { evidenceBundle } from '../evidence/bundle.ts'
import { subjectOf } from '../evidence/collect.ts'
import type { About } from '../evidence/format.ts'
import type { Outside } from '../evidence/outside.ts'
import type { Replays } from '../evidence/recordings.ts'
import { timeFacts } from '../policy/time.ts'
import { replayLines } from '../recording/render.ts'
import type { AuditDeps } from './audit.ts'
import type { Api } from './deps.ts'
import { sendError } from './errors.ts'
import { callerOf, permitOf } from './guard.ts'
import { Instant } from './pages.ts'
import type { RecordingDeps } from './recordings.ts'

export interface EvidenceDeps extends AuditDeps, RecordingDeps {
  readonly evidence: {
    /** The verifier that goes with each bundle. */
    readonly script: Buffer | null
    readonly outside: (size: number) => Promise<readonly Outside[]>
  }
}

const closed = { additionalProperties: false }
const Query = T.Object(
  {
    session: T.Optional(T.String({ pattern: '^ses_[0-9a-z]{26}$' })),
    request: T.Optional(T.String({ pattern: '^req_[0-9a-z]{26}$' })),
    subject: T.Optional(T.String({ minLength: 1, maxLength: 256 })), // id, name or e-mail
    from_ms: Instant,
    to_ms: Instant,
  },
  closed,
)

/** Evidence bundles: `admin` decides the export and each kind of thing in it, `replay` each recording. */
export function evidenceRoutes(app: Api, deps: EvidenceDeps): void {
  const { database, audit, engine, decisions, config, now } = deps
  const ofQuery = (request: FastifyRequest) => aboutOf(deps, request.query as T.Static<typeof Query>)
  const ownSubject = async (request: FastifyRequest) => {
    const about = await ofQuery(request).catch(() => undefined)
    return about === undefined ? undefined : await subjectOf(database.db, about).catch(() => undefined)
  }

  app.get(
    '/api/evidence',
    {
      config: {
        guard: {
          point: 'admin',
          call: 'evidence.export',
          target: request =>
            Object.fromEntries(Object.entries(request.query as object).map(([name, value]) => [name, String(value)])),
          own: async (request, caller) => (await ownSubject(request)) === caller.facts.id,
        },
      },
      schema: {
        summary:
          'One archive of everything about a session, a request, or a subject in a time; it verifies with no network',
        querystring: Query,
      },
    },
    async (request, reply) => {
      const about = await ofQuery(request)
      if (about === undefined)
        return sendError(
          reply,
          'bad_request',
          'evidence is about one session, one request, or a subject in a time',
          'name exactly one of session, request, or subject with from and to',
        )
      const caller = callerOf(request)
      const own = (await subjectOf(database.db, about)) === caller.facts.id
      const target = Object.fromEntries(Object.entries(about).map(([name, value]) => [name, String(value)]))
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const replays: Replays = async function* (session, verb) {
        const answer = await deps.replay.events(caller, session, { verb }, gone.signal, 'container')
        yield* replayLines(answer as AsyncIterable<Uint8Array>)
      }
      const bundle = evidenceBundle(
        { database, audit, deployment: config.deployment, vkey: deps.log.vkey, ...deps.evidence, replays, now },
        {
          about,
          by: { id: caller.facts.id, name: caller.facts.name },
          decision_id: permitOf(request).decision_id,
          may: async call => {
            const time = timeFacts(now(), config.zone)
            const { decision, permit } = engine.decide('admin', { subject: caller.facts, call, target, own, time })
            await decisions.insert(database.db, decision)
            return (
              permit !== null ||
              decision.reasons.map(reason => reason.message).join('; ') ||
              `policy denied ${call} (${decision.code})`
            )
          },
        },
      )
      // What cannot be bundled is refused before the first byte.
      const first = await bundle.next()
      const whole = async function* () {
        if (!first.done) yield first.value
        yield* bundle
      }
      return reply
        .type('application/x-tar')
        .header('cache-control', 'no-store')
        .header('content-disposition', `attachment; filename="${fileName(about)}"`)
        .send(Readable.from(whole(), { objectMode: false, highWaterMark: 1 << 20 }))
    },
  )
}

/** @returns undefined for a question that names none of them, or several. */
async function aboutOf({ identity }: EvidenceDeps, query: T.Static<typeof Query>): Promise<About | undefined> {
  const { session, request, subject, from_ms, to_ms } = query
  const named = [session, request, subject].filter(one => one !== undefined).length
  const timed = from_ms !== undefined && to_ms !== undefined && from_ms < to_ms
  if (named !== 1 || (subject === undefined ? from_ms !== undefined || to_ms !== undefined : !timed)) return undefined
  if (session !== undefined) return { session }
  if (request !== undefined) return { request }
  const found = await identity.listSubjects({ name: subject!, limit: 2 })
  if (found.length !== 1)
    throw new SallyportError(
      'not_found',
      found.length === 0 ? `nobody here is called ${subject}` : `several are called ${subject}`,
      {
        remedy: 'name one by id: `sallyport subjects` lists them',
      },
    )
  return { subject: found[0]!.id, from_ms: from_ms!, to_ms: to_ms! }
}

const fileName = (about: About): string =>
  `evidence-${'session' in about ? about.session : 'request' in about ? about.request : about.subject}.tar`
