import { Type as T } from 'typebox'
import type { Registry } from '../gateway/registry.ts'
import type { Resources } from '../policy/resources.ts'
import type { Api, BaseDeps } from './deps.ts'
import { callerOf } from './guard.ts'

export interface ResourceDeps extends BaseDeps {
  readonly resources: Pick<Resources, 'get' | 'list' | 'rolesOf'>
  readonly registry: Pick<Registry, 'get' | 'wireOf'>
}

const Entry = T.Object({
  name: T.String(),
  protocol: T.String(),
  via: T.String(), // the protocol by which clients reach it: its own, or the one that it rides on
  labels: T.Record(T.String(), T.String()),
  roles: T.Array(T.Object({ role: T.String(), max_s: T.Integer() })),
})

/** Nothing of another build's protocols is known. */
function viaOf({ registry }: ResourceDeps, name: string): string {
  const protocol = registry.get(name)
  return protocol === undefined ? name : registry.wireOf(protocol).name
}

/** What the caller may ask for: resources on which the policy's data gives one of their groups a role. */
export function resourceRoutes(app: Api, deps: ResourceDeps): void {
  app.get(
    '/api/resources',
    {
      config: { guard: { point: 'admin', call: 'resources.list' } },
      schema: {
        summary: 'Resources and the roles that the caller may ask for',
        response: { 200: T.Object({ items: T.Array(Entry), next: T.Null() }) },
      },
    },
    async request => {
      const { facts } = callerOf(request)
      const items = deps.resources
        .list()
        .map(({ name, protocol, labels }) => ({
          name,
          protocol,
          via: viaOf(deps, protocol),
          labels: { ...labels },
          roles: deps.resources.rolesOf(facts, name),
        }))
        .filter(entry => entry.roles.length > 0)
        .sort((a, b) => (a.name < b.name ? -1 : 1))
      return { items, next: null }
    },
  )
}
