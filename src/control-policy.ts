import type { KeyObject } from 'node:crypto'
import { join } from 'node:path'
import type { Base } from './base.ts'
import type { Config } from './config.ts'
import { SallyportError } from './errors.ts'
import type { Registry } from './gateway/registry.ts'
import { secretRef } from './keys.ts'
import { Following } from './policy/following.ts'
import type { GateOptions } from './policy/gate.ts'
import type { GitOptions } from './policy/repository/git.ts'
import type { WebhookSecrets } from './policy/repository/webhooks.ts'
import { parsePublicKey, signingKeys } from './signing-keys.ts'

/** Control's private key for revisions, where the configuration of every host names its public half. */
function bundleKey({ config, root }: Base): KeyObject {
  const { privateKey, publicKey } = signingKeys(root, 'bundle-signing')
  if (!publicKey.equals(parsePublicKey(config.public_keys.bundles))) {
    throw new SallyportError('bad_config', 'public_keys.bundles does not belong to the root key of control', {
      remedy: 'run `sallyport keys` and copy what it prints into the configuration of every host',
    })
  }
  return privateKey
}

function gitOptions(config: Config, ref: string, mirror: string): GitOptions {
  const { source, folder, token, ca, ssh, signatures } = config.policy
  return {
    source,
    ref,
    folder,
    token: token === undefined ? undefined : secretRef(token),
    ca,
    ssh: ssh && { key: secretRef(ssh.key), host_keys: ssh.host_keys },
    signatures,
    dir: join(config.data, mirror),
  }
}

function gateOptions({ policy, recording, secrets }: Config, registry: Registry): GateOptions {
  return {
    opa: policy.opa,
    protocols: registry.policyChecks({ keepsOriginals: (recording.originals_recipients ?? []).length > 0 }),
    secrets: Object.keys(secrets),
  }
}

/** The policy repository as control follows it. @throws SallyportError `bad_config` */
export function openPolicy(base: Base, registry: Registry): Following {
  const { config, database, notices, url, audit, engine, row } = base
  const { ref, shadow_ref, poll_s } = config.policy
  return new Following({
    database,
    notices,
    url,
    audit,
    engine,
    process_id: row.id,
    key: bundleKey(base),
    git: gitOptions(config, ref, 'policy-mirror'),
    shadow: shadow_ref === undefined ? undefined : gitOptions(config, shadow_ref, 'policy-shadow'),
    gate: gateOptions(config, registry),
    first_admins: config.first_admins,
    poll_s,
  })
}

/** By sender. */
export function webhookSecrets({ policy: { webhooks = {} } }: Config): WebhookSecrets {
  return Object.fromEntries(
    Object.entries(webhooks).map(([sender, ref]) => [sender, secretRef(ref)]),
  ) satisfies WebhookSecrets
}
