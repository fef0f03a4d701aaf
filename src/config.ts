import { type Static, Type as T } from 'typebox'

/**
 * Settings of `sallyport serve`, from one YAML file (`--config`, `SALLYPORT_CONFIG`). No secret stands in it: it names
 * files and variables (`file:/path`, `env:NAME`), which `secretRef` resolves where the value is needed.
 */
const closed = { additionalProperties: false }
const Ref = T.String({
  pattern: '^(file:/.+|env:[A-Z_][A-Z0-9_]*)$',
  description: 'must name where the value is, as file:/PATH or env:NAME',
})
const PublicKey = T.String({
  pattern: '^ed25519:[A-Za-z0-9_-]{43}$',
  description: 'must be a public key that `sallyport keys` printed (ed25519:…)',
})
const Port = T.Integer({ minimum: 0, maximum: 65_535 })

/** A bucket of an S3-compatible service. Without keys the SDK looks for the credentials of the machine it runs on. */
export const BucketSettings = T.Object(
  {
    bucket: T.String({ pattern: '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$', description: 'must be the name of a bucket' }),
    prefix: T.Optional(
      T.String({
        pattern: '^([A-Za-z0-9_.-]+/){1,8}$',
        maxLength: 200,
        description: 'must be folders, each with a slash behind it',
      }),
    ),
    region: T.String({ pattern: '^[a-z0-9-]{1,64}$' }),
    endpoint: T.Optional(
      T.String({ pattern: '^https?://[^/\\s]+$', description: 'must be https://HOST, with nothing behind the host' }),
    ), // left out: Amazon's
    path_style: T.Optional(T.Boolean()), // the bucket in the path and not in the host name, as most others than Amazon want it
    access_key: T.Optional(Ref),
    secret_key: T.Optional(Ref),
    ca: T.Optional(T.String()), // file of the certificates that vouch for the endpoint, where the system's do not
    timeout_s: T.Optional(T.Integer({ minimum: 1, maximum: 300 })), // of one call with its repetitions; default 30
  },
  closed,
)
export type BucketSettings = Static<typeof BucketSettings>

const { bucket: _, ...bucketMembers } = BucketSettings.properties
const Store = T.Union([
  T.Object({ kind: T.Literal('files'), folder: T.Optional(T.String({ pattern: '^/' })) }, closed),
  T.Object(
    {
      kind: T.Literal('s3'),
      bucket: BucketSettings.properties.bucket,
      ...bucketMembers,
      object_lock: T.Optional(T.Boolean()), // compliance mode until the day that policy names; the bucket must have it
      object_lock_max_days: T.Optional(T.Integer({ minimum: 1, maximum: 36_500 })), // nobody can undo a lock: a slip costs so much
    },
    closed,
  ),
])
export type StoreSettings = Static<typeof Store>

const ExportName = T.String({ pattern: '^[a-z][a-z0-9-]{0,62}$' })
const Url = T.String({ pattern: '^https?://[^\\s]+$', description: 'must be the https address of a service' })
const Kib = T.Optional(T.Integer({ minimum: 16, maximum: 65_536 }))
const DecisionExport = T.Union([
  // OPA's decision-log service API; `max_kib` is of an upload, compressed
  T.Object({ name: ExportName, kind: T.Literal('opa'), url: Url, token: T.Optional(Ref), max_kib: Kib }, closed),
  T.Object({ name: ExportName, kind: T.Literal('webhook'), url: Url, secret: T.Optional(Ref), max_kib: Kib }, closed),
  T.Object(
    {
      name: ExportName,
      kind: T.Literal('file'),
      folder: T.String({ minLength: 1 }),
      max_mib: T.Optional(T.Integer({ minimum: 1, maximum: 4096 })),
    },
    closed,
  ),
])

const Pace = T.Optional(T.Integer({ minimum: 1, maximum: 86_400 }))
const OutsidePlace = T.Union([
  T.Object(
    {
      name: ExportName,
      kind: T.Literal('git'),
      source: T.String(), // as policy.source
      branch: T.Optional(T.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$' })), // default main
      folder: T.Optional(T.String({ pattern: '^[A-Za-z0-9_][A-Za-z0-9_/-]{0,199}$' })),
      every_s: Pace, // default 60
      token: T.Optional(Ref),
      ca: T.Optional(T.String()),
      ssh: T.Optional(T.Object({ key: Ref, host_keys: T.Array(T.String(), { minItems: 1, maxItems: 20 }) }, closed)),
    },
    closed,
  ),
  T.Object({ name: ExportName, kind: T.Literal('webhook'), url: Url, secret: Ref, every_s: Pace }, closed),
  T.Object({ ...BucketSettings.properties, name: ExportName, kind: T.Literal('bucket'), every_s: Pace }, closed),
  // vkey: what the witness publishes, of type cosignature/v1
  T.Object(
    { name: ExportName, kind: T.Literal('witness'), url: Url, vkey: T.String({ maxLength: 300 }), every_s: Pace },
    closed,
  ),
])

export const ConfigSchema = T.Object(
  {
    origin: T.String({
      pattern: '^https?://[^/]+$',
      description: 'must be https://HOST, with nothing behind the host',
    }), // what browsers and the CLI use
    deployment: T.String({ minLength: 1, maxLength: 64 }), // name in checkpoints and messages
    development: T.Optional(T.Boolean()), // set by `sallyport dev` only; `serve` refuses it
    database: T.Object({ owner: T.Optional(Ref), control: Ref, gateway: Ref, replay: Ref }, closed), // PostgreSQL URLs
    keys: T.Object({ control: Ref, gateway: Ref, replay: Ref }, closed), // one root key file a role, 0600
    public_keys: T.Object({ bundles: PublicKey, replay_calls: PublicKey }, closed), // of control; `sallyport keys` prints them
    data: T.String({ minLength: 1 }), // folder for spool, store, CA, bundles
    control: T.Object(
      {
        host: T.String(),
        port: Port,
        trusted_proxies: T.Optional(T.Array(T.String())), // addresses or CIDR blocks whose X-Forwarded-For counts
        metrics_from: T.Optional(T.Array(T.String())), // who besides loopback may read /metrics: addresses or CIDR blocks
      },
      closed,
    ),
    replay: T.Object({ host: T.String(), port: Port }, closed),
    gateway: T.Object(
      {
        host: T.String(),
        public_host: T.String(),
        workers: T.Integer({ minimum: 1, maximum: 64 }),
        ports: T.Record(T.String(), Port), // protocol name → port
        tls: T.Optional(T.Object({ key: Ref, cert: Ref, ca: Ref }, closed)), // else a CA made on first start
        offline_grace_s: T.Integer({ minimum: 1, maximum: 3600 }),
        plaintext: T.Optional(T.Boolean()), // clients may connect without TLS: for networks that encrypt below, and for measuring
      },
      closed,
    ),
    oidc: T.Object(
      {
        issuer: T.String(),
        client_id: T.String(),
        client_secret: T.Optional(Ref),
        groups_claim: T.String(),
        scopes: T.String(),
        refresh_s: T.Integer({ minimum: 5 }), // how often groups are refreshed while something of the person lives
        max_groups_age_s: T.Integer({ minimum: 10 }), // older groups mean no new access
        allow_http: T.Optional(T.Boolean()), // development only
      },
      closed,
    ),
    slack: T.Optional(
      T.Object(
        {
          signing_secret: Ref,
          bot_token: Ref,
          team_id: T.String(),
          api_url: T.Optional(T.String()),
          policy_channel: T.Optional(T.String()),
        },
        closed,
      ),
    ),
    policy: T.Object(
      {
        source: T.String(), // a local path, file://, https:// or ssh:// remote, or user@host:path
        ref: T.String(),
        shadow_ref: T.Optional(T.String()), // of the same source: weighed on live traffic beside the active policy, with no effect
        folder: T.Optional(T.String()),
        poll_s: T.Integer({ minimum: 1 }),
        max_age_s: T.Optional(T.Integer({ minimum: 60 })), // behind the tracked ref for longer: new access is denied
        token: T.Optional(Ref),
        ca: T.Optional(T.String()), // file of the certificates that vouch for an https remote
        ssh: T.Optional(
          T.Object(
            {
              key: Ref, // deploy key, without a passphrase
              host_keys: T.Array(
                T.String({
                  pattern: '^[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( .*)?$',
                  description: 'must be a public key of the server, as TYPE BASE64',
                }),
                { minItems: 1, maxItems: 20 },
              ),
            },
            closed,
          ),
        ),
        signatures: T.Optional(
          T.Object(
            { allowed_signers: T.Optional(T.String()), openpgp: T.Optional(T.String()) }, // files; one of them at least
            { ...closed, minProperties: 1 },
          ),
        ),
        webhooks: T.Optional(
          T.Object(
            {
              github: T.Optional(Ref),
              gitlab: T.Optional(Ref), // its signing token (whsec_…), or its secret token
              hmac: T.Optional(Ref),
            },
            closed,
          ),
        ),
        opa: T.String(), // path of the opa command
      },
      closed,
    ),
    first_admins: T.String({ minLength: 1 }), // group that the first revision's `admin` point must allow
    secrets: T.Record(
      T.String({ pattern: '^[a-z][a-z0-9-]{0,62}$' }),
      T.Object({ from: Ref, hosts: T.Array(T.String()), labels: T.Optional(T.Record(T.String(), T.String())) }, closed),
    ),
    allow_addresses: T.Array(T.String()), // "host:port" of targets on loopback, link-local or our own addresses
    recording: T.Object(
      {
        recipients: T.Array(
          T.String({
            pattern: '^age1[0-9a-z]+$',
            description: 'must be a recipient that `sallyport keys` printed (age1…)',
          }),
          { minItems: 1 },
        ), // who can open recordings
        identity: Ref, // the age identity; only the replay role reads it
        originals_recipients: T.Optional(T.Array(T.String({ pattern: '^age1[0-9a-z]+$' }))), // who can open originals; none of those above
        originals_identity: T.Optional(Ref), // only the replay role reads it, for the clear view
        spool_mib: T.Integer({ minimum: 16 }),
        store: T.Optional(Store), // left out: files in `data`
        former_stores: T.Optional(T.Array(Store, { maxItems: 4 })), // still read; `sallyport recording move` empties them
      },
      closed,
    ),
    audit: T.Object(
      {
        copy: T.String({ minLength: 1 }), // second path for checkpoints
        places: T.Optional(T.Array(OutsidePlace, { maxItems: 16 })), // where checkpoints go besides
      },
      closed,
    ),
    decision_exports: T.Optional(T.Array(DecisionExport, { maxItems: 16 })), // where decisions go besides the database
    zone: T.String(), // IANA zone of input.time
  },
  closed,
)

export type Config = Static<typeof ConfigSchema>
