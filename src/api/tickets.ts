import { Type as T } from 'typebox'
import { Value } from 'typebox/value'
import type { Approvals } from '../approvals/approvals.ts'
import { bounds } from '../approvals/bounds.ts'
import type { Endpoint } from '../gateway/endpoint.ts'
import type { Keys, ListeningProtocol } from '../gateway/protocol.ts'
import type { Registry } from '../gateway/registry.ts'
import type { Resources } from '../policy/resources.ts'
import type { Tickets } from '../sessions/tickets.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError, sendRefused } from './errors.ts'
import { callerOf } from './guard.ts'
import { clientOf } from './pages.ts'

export interface TicketDeps extends BaseDeps {
  readonly approvals: Approvals
  readonly tickets: Tickets
  readonly resources: Pick<Resources, 'get'>
  readonly registry: Pick<Registry, 'get' | 'wireOf'>
  /** Where clients reach the gateway, the CA (PEM) that its certificate is from, and what it publishes. */
  readonly endpoint: (protocol: ListeningProtocol) => Promise<Endpoint>
  /** Keys of control for what a protocol signs. */
  readonly keys: (protocol: string, purpose: string) => ReturnType<Keys>
}

const closed = { additionalProperties: false }
const Facts = T.Record(T.String({ maxLength: 64 }), T.String({ maxLength: 16_384 }), { maxProperties: 8 })
const Name = T.String({ minLength: 1, maxLength: bounds.name })

const Issued = T.Object({
  id: T.String(),
  secret: T.String(), // here and nowhere else
  resource: T.Object({
    name: T.String(),
    protocol: T.String(),
    host: T.String(),
    port: T.Integer(),
    labels: T.Record(T.String(), T.String()),
    secret: T.Null(),
    options: T.Unknown(),
  }),
  protocol: T.String(),
  role: T.String(),
  host: T.String(),
  port: T.Integer(),
  ca: T.String(),
  published: Facts, // what the gateways say of themselves: public
  credential: Facts, // signed for this ticket: worth nothing without what its holder keeps
  expires_at_ms: T.Integer(), // unused, it ends then
  ends_at_ms: T.Integer(), // its session ends then at the latest
})

/** Tickets: what a client presents at the gateway. The answer never names the target's address nor its secret. */
export function ticketRoutes(app: Api, deps: TicketDeps): void {
  app.post(
    '/api/tickets',
    {
      config: { guard: { point: 'access' } },
      schema: {
        summary: 'A ticket for a resource, for which a grant lasts or policy gives standing access',
        body: T.Object(
          {
            resource: Name,
            role: T.Optional(Name),
            duration_s: T.Optional(T.Integer({ minimum: bounds.min_duration_s, maximum: bounds.max_duration_s })),
            offer: T.Optional(Facts), // a public key, say: the protocol knows
          },
          closed,
        ),
        response: { 201: Issued },
      },
    },
    async (request, reply) => {
      const { facts: subject } = callerOf(request)
      const resource = deps.resources.get(request.body.resource)
      const protocol = resource === undefined ? undefined : deps.registry.get(resource.protocol)
      if (resource === undefined) return sendError(reply, 'not_found', `there is no resource ${request.body.resource}`)
      if (protocol === undefined)
        return sendError(reply, 'unsupported', `this build does not serve ${resource.protocol}`)
      const wire = deps.registry.wireOf(protocol)
      const offer = request.body.offer ?? {}
      if (Object.keys(offer).length > 0 && !(wire.offer !== undefined && Value.Check(wire.offer, offer)))
        return sendError(reply, 'bad_request', `${protocol.name} takes no such offer`)
      const keys: Keys = purpose => deps.keys(wire.name, purpose)
      const role = request.body.role ?? (await deps.tickets.chooseRole(subject, resource.name))
      if (typeof role !== 'string') return sendRefused(reply, role)
      const at = await deps.endpoint(wire)
      const issued = await deps.tickets.issue(deps.approvals, {
        subject,
        resource: resource.name,
        role,
        verifiers: secret => wire.verifiers(secret, offer, keys),
        client: clientOf(request),
        duration_s: request.body.duration_s,
      })
      if (issued.refused) return sendRefused(reply, issued)
      const { name, labels, options } = issued.resource
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({
          id: issued.id,
          secret: issued.secret.reveal(),
          resource: {
            name,
            protocol: protocol.name,
            host: at.host,
            port: at.port,
            labels: { ...labels },
            secret: null,
            options,
          },
          protocol: protocol.name,
          role,
          ...at,
          credential: { ...wire.credential?.(issued, offer, keys) },
          expires_at_ms: issued.unused_until_ms,
          ends_at_ms: issued.ends_at_ms,
        })
    },
  )

  app.get(
    '/api/tickets/:id',
    {
      config: { guard: { point: 'self' } },
      schema: {
        summary: "Whether a ticket of the caller's still opens something",
        params: T.Object({ id: Name }, closed),
        response: { 200: T.Object({ open: T.Boolean() }) },
      },
    },
    async request => ({ open: await deps.tickets.opens(request.params.id, callerOf(request).facts.id) }),
  )

  app.get(
    '/api/gateways/:protocol',
    {
      config: { guard: { point: 'admin', call: 'resources.list' } },
      schema: {
        summary: 'Where the gateways are reached for a protocol, and what they say of themselves',
        params: T.Object({ protocol: Name }, closed),
        response: { 200: T.Object({ host: T.String(), port: T.Integer(), ca: T.String(), published: Facts }) },
      },
    },
    async (request, reply) => {
      const protocol = deps.registry.get(request.params.protocol)
      if (protocol === undefined)
        return sendError(reply, 'not_found', `this build does not serve ${request.params.protocol}`)
      const { host, port, ca, published } = await deps.endpoint(deps.registry.wireOf(protocol))
      return { host, port, ca, published }
    },
  )
}
