import { readFileSync } from 'node:fs'
import { parse as parseYaml } from 'yaml'
import { type Config, ConfigSchema } from './config.ts'
import { SallyportError } from './errors.ts'
import { faultsOf } from './faults.ts'

/**
 * Reads and checks a configuration file.
 * @throws SallyportError `bad_config` that lists every missing or wrong setting at once.
 */
export function loadConfig(path: string): Config {
  let raw: unknown
  try {
    raw = parseYaml(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new SallyportError('bad_config', `the configuration file ${path} cannot be read: ${why(error)}`)
  }
  return checkConfig(raw, path)
}

/** One line: a parser of YAML adds a drawing of the place. */
function why(error: unknown): string {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
    ? 'there is no such file'
    : (error as Error).message.split('\n')[0]!.replace(/:$/, '')
}

/** Checks a configuration value; `where` names its origin in messages. */
export function checkConfig(raw: unknown, where: string): Config {
  const problems = raw === null ? faultsOf(ConfigSchema, {}) : faultsOf(ConfigSchema, raw)
  const zone = (raw as { zone?: unknown } | null)?.zone
  const oidc = (raw as { oidc?: { issuer?: unknown; allow_http?: unknown } } | null)?.oidc
  if (typeof oidc?.issuer === 'string' && !oidc.issuer.startsWith('https://') && oidc.allow_http !== true)
    problems.push('/oidc/issuer: must be https')
  if (typeof zone === 'string' && !isZone(zone))
    problems.push('/zone: must be an IANA time zone, such as UTC or Europe/Berlin')
  const { recipients, originals_recipients } =
    (raw as { recording?: Partial<Config['recording']> } | null)?.recording ?? {}
  if (Array.isArray(recipients) && Array.isArray(originals_recipients)) {
    const both = originals_recipients.findIndex(recipient => recipients.includes(recipient))
    if (both >= 0) problems.push(`/recording/originals_recipients/${both}: must not be among recipients too`)
  }
  problems.push(...halfKeys((raw as { recording?: Partial<Config['recording']> } | null)?.recording ?? {}))
  if (problems.length > 0) {
    throw new SallyportError(
      'bad_config',
      `${where} has ${problems.length} missing or wrong setting${problems.length === 1 ? '' : 's'}:\n  ${problems.join('\n  ')}`,
      { remedy: 'correct them and start again; src/README.md shows a configuration with every setting' },
    )
  }
  return deepFreeze(raw as Config)
}

/** One of two keys alone would send the SDK looking for other credentials than were meant. */
function halfKeys({ store, former_stores }: Partial<Config['recording']>): string[] {
  const stores = [
    ['store', store] as const,
    ...(Array.isArray(former_stores) ? former_stores : []).map((s, i) => [`former_stores/${i}`, s] as const),
  ]
  return stores.flatMap(([at, each]) =>
    each?.kind === 's3' && (each.access_key === undefined) !== (each.secret_key === undefined)
      ? [
          `/recording/${at}: access_key and secret_key go together; without both the credentials of the machine are used`,
        ]
      : [],
  )
}

/** Every decision carries the time in this zone: a wrong one would be found at the first. */
function isZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: zone }) !== undefined
  } catch {
    return false
  }
}

function deepFreeze<X>(value: X): X {
  if (value !== null && typeof value === 'object') for (const member of Object.values(value)) deepFreeze(member)
  return Object.freeze(value)
}
