import type { TSchema } from 'typebox'
import { ResourceSchema, ResourcesSchema, RolesSchema } from './data-schema.ts'
import { type Point, points } from './points.ts'
import { RepositorySettings } from './repository-settings.ts'

/** JSON Schema as `opa check --schema` understands it: `type`, `properties`, `items`, `enum`; nothing else is checked. */
export interface OpaSchema {
  readonly $schema?: string
  readonly type?: string | readonly string[]
  readonly properties?: Readonly<Record<string, OpaSchema>>
  readonly items?: OpaSchema
  readonly additionalProperties?: boolean
  readonly enum?: readonly (string | number | boolean)[]
}

interface Source {
  readonly type?: string
  readonly const?: string | number | boolean
  readonly anyOf?: readonly Source[]
  readonly properties?: Readonly<Record<string, Source>>
  readonly patternProperties?: Readonly<Record<string, Source>>
  readonly items?: Source
}

/** The schema of a point's input. Objects are closed, "or null" is a list of types: OPA does not look into `anyOf`. */
export function inputSchema(point: Point): OpaSchema {
  return { $schema: 'http://json-schema.org/draft-07/schema#', ...convert(points[point].input as TSchema as Source) }
}

/** A protocol and the schema of its resources' options. */
export interface ProtocolOptions {
  readonly name: string
  readonly options: TSchema
}

const draft = { $schema: 'http://json-schema.org/draft-07/schema#' }

/**
 * All schemas of a policy repository by name: `access.input` (for `opa check --schema`), `access.result`, `resources`,
 * `roles`, `policy`. They are for editors and pipelines; the gate checks with its own.
 */
export function policySchemas(protocols: readonly ProtocolOptions[]): Record<string, object> {
  const named = (Object.keys(points) as Point[]).flatMap((point): [string, object][] => [
    [`${point}.input`, inputSchema(point)],
    [`${point}.result`, { ...draft, title: `What ${point} answers`, ...points[point].result }],
  ])
  return plain({
    ...Object.fromEntries(named),
    resources: { ...draft, title: 'resources/data.yaml', ...ResourcesSchema, ...resourcesOf(protocols) },
    roles: { ...draft, title: 'roles/data.yaml', ...RolesSchema },
    policy: { ...draft, title: 'policy.yaml', ...RepositorySettings },
  })
}

/** The options of each resource by its protocol. */
function resourcesOf(protocols: readonly ProtocolOptions[]): object {
  const each = {
    ...ResourceSchema,
    allOf: protocols.map(({ name, options }) => ({
      if: { properties: { protocol: { const: name } } },
      // biome-ignore lint/suspicious/noThenProperty: JSON Schema calls it so
      then: { properties: { options } },
    })),
  }
  const [pattern] = Object.keys((ResourcesSchema as unknown as { patternProperties: object }).patternProperties)
  return { patternProperties: { [pattern!]: each } }
}

/** As JSON has it, without what TypeBox keeps beside. */
function plain<X>(value: X): X {
  return JSON.parse(JSON.stringify(value)) as X
}

function convert(source: Source): OpaSchema {
  if (source.anyOf !== undefined) return union(source.anyOf)
  if (source.const !== undefined) return { type: typeof source.const, enum: [source.const] }
  if (source.type === 'array') return { type: 'array', items: convert(source.items ?? {}) }
  if (source.type === 'object' && source.patternProperties === undefined) {
    const members = Object.entries(source.properties ?? {}).map(([name, member]) => [name, convert(member)] as const)
    return { type: 'object', properties: Object.fromEntries(members), additionalProperties: false }
  }
  return source.type === undefined ? {} : { type: source.type }
}

function union(parts: readonly Source[]): OpaSchema {
  const rest = parts.filter(part => part.type !== 'null')
  const nullable = rest.length < parts.length
  const literals = rest.flatMap(part => (part.const === undefined ? [] : [part.const]))
  const first = rest[0]
  if (literals.length === rest.length && first !== undefined) {
    const type = typeof literals[0]
    return { type: nullable ? [type, 'null'] : type, enum: literals }
  }
  if (rest.length !== 1 || first === undefined) throw new TypeError('a union of objects cannot be checked by opa')
  const one = convert(first)
  return nullable && typeof one.type === 'string' ? { ...one, type: [one.type, 'null'] } : one
}
