import type { TSchema } from 'typebox'
import { type Point, points } from './points.ts'

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
