import { type Static, Type as T } from 'typebox'

const closed = { additionalProperties: false }
const Name = T.String({ minLength: 1, maxLength: 63, pattern: '^[^\\x00]+$' })

/** `options` of a resource in resources/data.yaml. */
export const Options = T.Object(
  {
    database: Name,
    /** As libpq's; `verify-full` where nothing is said. */
    sslmode: T.Optional(
      T.Union(['disable', 'prefer', 'require', 'verify-ca', 'verify-full'].map(mode => T.Literal(mode))),
    ),
    /** PEM of the CA that signs the target's certificate; the system's CAs where nothing is said. */
    ca: T.Optional(T.String({ maxLength: 65_536 })),
    lease: T.Union([
      T.Object(
        {
          /** A role is made for each session. The secret is the password of `user`, who may create roles. */
          kind: T.Literal('role'),
          user: Name,
          /** role of the policy → role of the target, whose member the session's role becomes */
          in_role: T.Record(T.String(), Name),
        },
        closed,
      ),
      T.Object(
        {
          /** Every session uses this account; the secret is its password. */
          kind: T.Literal('stored'),
          user: Name,
        },
        closed,
      ),
    ]),
  },
  closed,
)

export type Options = Static<typeof Options>
export type SslMode = 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

/** The role of the target that a session acts as: what it makes belongs to it. */
export function actsAs(options: Options, role: string): string | undefined {
  const { lease } = options
  return lease.kind === 'role' && Object.hasOwn(lease.in_role, role) ? lease.in_role[role] : undefined
}

export function sslModeOf(options: Options): SslMode {
  return (options.sslmode as SslMode | undefined) ?? 'verify-full'
}
