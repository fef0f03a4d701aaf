import { Type as T } from 'typebox'
import type { Registry } from '../gateway/registry.ts'
import { policySchemas } from '../policy/json-schemas.ts'
import type { Api, BaseDeps } from './deps.ts'

export interface PolicySchemaDeps extends BaseDeps {
  readonly registry: Pick<Registry, 'schemas'>
}

/** What every point is asked and answers in this build, for editors and pipelines of policy repositories. */
export function policySchemaRoutes(app: Api, deps: PolicySchemaDeps): void {
  const schemas = policySchemas(deps.registry.schemas())
  app.get(
    '/api/policy/schemas',
    {
      config: { guard: { point: 'admin', call: 'policy.status' } },
      schema: {
        summary: 'JSON Schemas of every point’s input and result, and of the data files',
        response: { 200: T.Record(T.String(), T.Unknown()) },
      },
    },
    async () => schemas,
  )
}
