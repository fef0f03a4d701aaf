import { type Static, Type as T } from 'typebox'
import { SallyportError } from '../../errors.ts'
import type { Resource } from '../../gateway/protocol.ts'
import { parsePublicKeyLine } from './wire/public-key.ts'

const closed = { additionalProperties: false }
const Login = T.String({ pattern: '^[a-z_][a-z0-9_.-]{0,31}\\$?$' })
/** For the target's shell. `{login}` is the only thing that is put in. */
const Command = T.String({ minLength: 1, maxLength: 1024, pattern: '^[^\\u0000-\\u001f]+$' })

/** A login for each session, made and removed by commands that run as `admin`, who logs in `by` one of three ways. */
const MadeLogin = T.Object(
  {
    kind: T.Literal('login'),
    admin: Login,
    by: T.Union([T.Literal('certificate'), T.Literal('key'), T.Literal('password')]),
    /** role of the policy → command */
    create: T.Record(T.String(), Command),
    remove: Command,
  },
  closed,
)

export type MadeLogin = Static<typeof MadeLogin>

/** `options` of a resource in resources/data.yaml. */
export const Options = T.Object(
  {
    /** The target's host keys, as in known_hosts without the name. Nothing else is believed, and nothing is learned. */
    host_keys: T.Array(T.String({ minLength: 1, maxLength: 8192 }), { minItems: 1, maxItems: 16 }),
    /** role of the policy → login name on the target */
    login: T.Record(T.String(), Login),
    auth: T.Union([
      /** A certificate for each connection, signed by the gateway's CA, which the target trusts. */
      T.Object({ kind: T.Literal('certificate') }, closed),
      /** The secret is a private key, or a password, of the login. */
      T.Object({ kind: T.Union([T.Literal('key'), T.Literal('password')]) }, closed),
      MadeLogin,
    ]),
  },
  closed,
)

export type Options = Static<typeof Options>

/** The login of a role. @throws SallyportError `policy_denied` where the resource names none. */
export function loginOf(resource: Resource, role: string): string {
  const { login } = resource.options as Options
  const name = Object.hasOwn(login, role) ? login[role] : undefined
  if (name !== undefined) return name
  throw new SallyportError('policy_denied', `${resource.name} does not say as whom a ${role} logs in`, {
    remedy: 'add the role to options.login of the resource',
  })
}

/** The pinned keys as blobs. @throws SallyportError `unsupported` for a line that is no key. */
export function pinnedKeys(resource: Resource): readonly Buffer[] {
  return (resource.options as Options).host_keys.map(line => {
    try {
      return parsePublicKeyLine(line).blob
    } catch (error) {
      throw new SallyportError(
        'unsupported',
        `a host key of ${resource.name} cannot be read: ${(error as Error).message}`,
        {
          remedy: 'write `TYPE BASE64` as `ssh-keyscan` prints it, without the host name',
        },
      )
    }
  })
}
