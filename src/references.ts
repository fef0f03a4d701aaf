import type { Config } from './config.ts'
import { SallyportError } from './errors.ts'
import { publicRef, secretRef } from './keys.ts'

type Read = (ref: string) => unknown
type Reference = readonly [setting: string, ref: string | undefined, read?: Read]

/** What each role reads: a host that runs one role needs nothing of the others. */
function referencesOf(config: Config, role: 'control' | 'gateway' | 'replay'): Reference[] {
  const { database, keys, oidc, slack, policy, gateway, secrets, recording } = config
  const own: Reference[] = [
    [`database/${role}`, database[role]],
    [`keys/${role}`, keys[role]],
    ...storeReferences(recording),
  ]
  switch (role) {
    case 'control':
      return [
        ...own,
        ['oidc/client_secret', oidc.client_secret],
        ['slack/signing_secret', slack?.signing_secret],
        ['slack/bot_token', slack?.bot_token],
        ['policy/token', policy.token],
        ['policy/ssh/key', policy.ssh?.key],
        ['policy/webhooks/github', policy.webhooks?.github],
        ['policy/webhooks/gitlab', policy.webhooks?.gitlab],
        ['policy/webhooks/hmac', policy.webhooks?.hmac],
        ...placeReferences(config.audit),
        ...(config.decision_exports ?? []).map(
          (each, i): Reference =>
            each.kind === 'webhook'
              ? [`decision_exports/${i}/secret`, each.secret]
              : [`decision_exports/${i}/token`, each.kind === 'opa' ? each.token : undefined],
        ),
      ]
    case 'gateway':
      return [
        ...own,
        ['gateway/tls/key', gateway.tls?.key],
        ['gateway/tls/cert', gateway.tls?.cert, publicRef],
        ['gateway/tls/ca', gateway.tls?.ca, publicRef],
        ...Object.entries(secrets).map(([name, { from }]): Reference => [`secrets/${name}/from`, from]),
      ]
    case 'replay':
      return [
        ...own,
        ['recording/identity', recording.identity],
        ['recording/originals_identity', recording.originals_identity],
      ]
  }
}

function placeReferences({ places = [] }: Config['audit']): Reference[] {
  return places.flatMap((each, i): Reference[] => {
    const at = `audit/places/${i}`
    if (each.kind === 'webhook') return [[`${at}/secret`, each.secret]]
    if (each.kind === 'git')
      return [
        [`${at}/token`, each.token],
        [`${at}/ssh/key`, each.ssh?.key],
      ]
    if (each.kind === 'bucket')
      return [
        [`${at}/access_key`, each.access_key],
        [`${at}/secret_key`, each.secret_key],
        [`${at}/ca`, each.ca === undefined ? undefined : `file:${each.ca}`, publicRef],
      ]
    return []
  })
}

/** Every role reaches the stores: one writes, one reads, one deletes. */
function storeReferences({ store, former_stores = [] }: Config['recording']): Reference[] {
  const all = [
    ['recording/store', store] as const,
    ...former_stores.map((s, i) => [`recording/former_stores/${i}`, s] as const),
  ]
  return all.flatMap(([at, each]): Reference[] =>
    each?.kind === 's3'
      ? [
          [`${at}/access_key`, each.access_key],
          [`${at}/secret_key`, each.secret_key],
          [`${at}/ca`, each.ca === undefined ? undefined : `file:${each.ca}`, publicRef],
        ]
      : [],
  )
}

/**
 * Looks for every file and variable that the settings of these roles name, before anything starts.
 * @throws SallyportError `bad_config` that lists all that cannot be read, and why. No value is repeated.
 */
export function checkReferences(config: Config, roles: readonly ('control' | 'gateway' | 'replay')[]): void {
  const problems = roles
    .flatMap(role => referencesOf(config, role))
    .flatMap(([setting, ref, read = secretRef]) => {
      if (ref === undefined) return []
      try {
        read(ref)
        return []
      } catch (error) {
        if (!(error instanceof SallyportError)) throw error
        return [`/${setting}: ${error.message}; ${error.remedy}`]
      }
    })
  if (problems.length === 0) return
  throw new SallyportError(
    'bad_config',
    `the configuration names ${problems.length === 1 ? 'something' : `${problems.length} things`} that cannot be used:\n  ${problems.join('\n  ')}`,
    { remedy: 'make or mend them and start again; `sallyport keys` makes missing keys' },
  )
}
