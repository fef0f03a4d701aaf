import { type Static, Type as T } from 'typebox'

/**
 * The data files of a policy repository: `resources/data.yaml` and `roles/data.yaml`. OPA checks no data, so these
 * schemas are closed and the gate checks them.
 */
const closed = { additionalProperties: false }
const Name = T.String({ pattern: '^[a-z][a-z0-9-]{0,62}$' })
const Label = T.Record(T.String({ pattern: '^[a-z][a-z0-9_.-]{0,62}$' }), T.String({ maxLength: 128 }))
const Address = T.String({ pattern: '^(\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}$' })

export const ResourceSchema = T.Object(
  {
    protocol: T.String({ pattern: '^[a-z][a-z0-9]{0,30}$' }),
    address: Address, // host:port
    labels: Label,
    secret: T.Optional(Name), // the name of a secret that the operator declared
    options: T.Optional(T.Record(T.String(), T.Unknown())), // the protocol's own schema checks these
  },
  closed,
)

/** A rule names resources by name or by labels (all of them must agree); one of the two must stand there. */
const RoleRule = T.Object(
  {
    names: T.Optional(T.Array(Name, { minItems: 1, maxItems: 1000 })),
    labels: T.Optional(T.Intersect([Label, T.Object({}, { minProperties: 1 })])),
    max_s: T.Integer({ minimum: 60, maximum: 2_592_000 }),
  },
  { ...closed, minProperties: 2 },
)

const GroupRoles = T.Record(Name, T.Array(RoleRule, { minItems: 1, maxItems: 100 }))

export const ResourcesSchema = T.Record(Name, ResourceSchema, { maxProperties: 10_000 })
export const RolesSchema = T.Record(T.String({ minLength: 1, maxLength: 256 }), GroupRoles, { maxProperties: 10_000 })

export const DataSchema = T.Object(
  { resources: ResourcesSchema, roles: RolesSchema },
  { additionalProperties: true }, // a repository may keep more data of its own; nothing here reads it
)

export type PolicyData = Static<typeof DataSchema>
export type ResourceData = Static<typeof ResourceSchema>
export type RolesData = Static<typeof RolesSchema>
