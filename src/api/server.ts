import { randomUUID } from 'node:crypto'
import cookie from '@fastify/cookie'
import rateLimit from '@fastify/rate-limit'
import swagger from '@fastify/swagger'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import { SallyportError } from '../errors.ts'
import { auditRoutes } from './audit.ts'
import { authRoutes } from './auth.ts'
import { cliAuthRoutes } from './cli-auth.ts'
import { credentialsOf } from './credentials.ts'
import { decisionProofRoutes } from './decision-proof.ts'
import { decisionRoutes } from './decisions.ts'
import type { Api, BaseDeps } from './deps.ts'
import { handleError, sendError } from './errors.ts'
import { evidenceRoutes } from './evidence.ts'
import { explainRoutes } from './explain.ts'
import { grantRoutes } from './grants.ts'
import { installGuard } from './guard.ts'
import { installHeaders } from './headers.ts'
import { healthRoutes } from './health.ts'
import { holdRoutes } from './holds.ts'
import { meRoutes } from './me.ts'
import { planRoutes } from './plan.ts'
import { policyRoutes } from './policy.ts'
import { policySchemaRoutes } from './policy-schemas.ts'
import { shadowRoutes } from './policy-shadow.ts'
import { steeringRoutes } from './policy-steering.ts'
import { webhookRoutes } from './policy-webhooks.ts'
import { rateKey } from './rate-key.ts'
import { recordingRoutes } from './recordings.ts'
import { requestRoutes } from './requests.ts'
import { resourceRoutes } from './resources.ts'
import { retentionRoutes } from './retention.ts'
import { reviewRoutes } from './reviews.ts'
import { searchRoutes } from './search.ts'
import { sessionRoutes } from './sessions.ts'
import { slackRoutes } from './slack.ts'
import { statusRoutes } from './status.ts'
import { subjectRoutes } from './subjects.ts'
import { installTextCheck } from './text.ts'
import { ticketRoutes } from './tickets.ts'
import { tokenRoutes } from './tokens.ts'
import { webRoutes } from './web.ts'

/** The areas that need nothing but the base: identity, decisions, policy status, files. */
export const baseAreas = [
  healthRoutes,
  authRoutes,
  cliAuthRoutes,
  meRoutes,
  tokenRoutes,
  subjectRoutes,
  decisionRoutes,
  explainRoutes,
  policyRoutes,
  shadowRoutes,
  webRoutes,
] as const

/** Every area of the API. A new one is a file here and a line in a list; what it needs becomes part of `ApiDeps`. */
const areas = [
  ...baseAreas,
  resourceRoutes,
  requestRoutes,
  grantRoutes,
  reviewRoutes,
  ticketRoutes,
  sessionRoutes,
  recordingRoutes,
  holdRoutes,
  searchRoutes,
  retentionRoutes,
  auditRoutes,
  evidenceRoutes,
  planRoutes,
  decisionProofRoutes,
  policySchemaRoutes,
  slackRoutes,
  statusRoutes,
  steeringRoutes,
  webhookRoutes,
] as const

/** What all areas together need: the intersection of their second parameters. */
export type ApiDeps = (typeof areas)[number] extends (app: Api, deps: infer Deps) => void ? Deps : never

export const maxBodyBytes = 256 * 1024

/** The control plane's API and the files of its web UI. Call `listen` on what it returns; `close` waits for calls under way. */
export function buildApi(deps: ApiDeps): Promise<Api> {
  return buildServer(deps, areas)
}

/** The server with some areas only: what `buildApi` and the tests of an area share. */
export async function buildServer<Deps extends BaseDeps>(
  deps: Deps,
  chosen: readonly ((app: Api, deps: Deps) => void)[],
): Promise<Api> {
  const { origin, control } = deps.config
  const { protocol, hostname } = new URL(origin)
  if (protocol !== 'https:' && !['localhost', '127.0.0.1', '[::1]'].includes(hostname)) {
    throw new SallyportError('bad_config', `the origin ${origin} is plain http and not loopback`, {
      remedy: 'put TLS in front, and set `origin` to the https address that browsers use',
    })
  }
  const app: Api = fastify({
    bodyLimit: maxBodyBytes,
    requestTimeout: 30_000,
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    trustProxy: [...(control.trusted_proxies ?? [])],
    routerOptions: { maxParamLength: 256 },
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    ajv: { customOptions: { removeAdditional: false } },
    frameworkErrors: handleError,
  })
  app.setValidatorCompiler(TypeBoxValidatorCompiler)
  app.setErrorHandler(handleError)
  // JSON only: fastify's own parser for text/plain is what a form of another site could send without a preflight
  app.removeContentTypeParser('text/plain')
  await app.register(cookie)
  await app.register(rateLimit, {
    max: deps.limits?.calls ?? 1200,
    timeWindow: '1 minute',
    cache: 20_000,
    keyGenerator: request =>
      // where nobody is asked who they are, a credential proves nothing
      request.routeOptions.config.guard?.point === 'open'
        ? request.ip
        : rateKey(request.ip, credentialsOf(request, origin)),
  })
  await app.register(swagger, {
    openapi: {
      info: { title: 'Sallyport', version: '1', description: 'The control plane. Each call is decided by policy.' },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
      security: [{ bearer: [] }],
    },
  })
  installHeaders(app, deps.config.origin)
  installGuard(app, deps)
  installTextCheck(app)
  for (const area of chosen) area(app, deps)
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0]!.slice(0, 200)
    return sendError(
      reply,
      'not_found',
      `there is no ${request.method} ${path}`,
      'look at /openapi.json for what there is',
    )
  })
  await app.ready()
  return app
}
