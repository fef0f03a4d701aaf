import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { SallyportError } from '../errors.ts'
import { Secret } from '../secret.ts'

/** Who the command line is signed in as, at which control plane. Several profiles lie side by side in one file. */
export interface Profile {
  readonly origin: string
  readonly token: Secret
  readonly name: string
}

interface Stored {
  readonly profiles: Record<string, { origin: string; token: string; name: string }>
}

/** The folder for the command line's own settings and fetched CA files. */
export function configFolder(): string {
  return join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'sallyport')
}

const file = () => join(configFolder(), 'credentials.json')

/** The profile in use: `--profile`, else `SALLYPORT_PROFILE`, else `default`. */
export function profileName(option: string | undefined): string {
  return option ?? process.env['SALLYPORT_PROFILE'] ?? 'default'
}

/**
 * The credentials of a profile. `SALLYPORT_TOKEN` with `SALLYPORT_ORIGIN` take precedence: that is how machines sign in.
 * @throws SallyportError `unauthenticated` when nobody has signed in.
 */
export function loadProfile(option: string | undefined): Profile {
  const token = process.env['SALLYPORT_TOKEN']
  const origin = process.env['SALLYPORT_ORIGIN']
  if (token !== undefined && origin === undefined) {
    throw new SallyportError(
      'bad_config',
      'SALLYPORT_TOKEN is set, and SALLYPORT_ORIGIN does not say for which control plane',
      {
        remedy: 'set SALLYPORT_ORIGIN too',
      },
    )
  }
  if (token !== undefined && origin !== undefined) return { origin, token: new Secret(token), name: 'SALLYPORT_TOKEN' }
  const stored = read().profiles[profileName(option)]
  if (stored === undefined) {
    throw new SallyportError('unauthenticated', `nobody is signed in as profile '${profileName(option)}'`, {
      remedy: 'run `sallyport login`',
    })
  }
  return { origin: stored.origin, token: new Secret(stored.token), name: stored.name }
}

/** Keeps the credentials of a profile in a file that only its owner can read; replaced in one step. */
export function saveProfile(option: string | undefined, profile: Profile | undefined): void {
  const profiles = { ...read().profiles }
  if (profile === undefined) delete profiles[profileName(option)]
  else {
    profiles[profileName(option)] = { origin: profile.origin, token: profile.token.reveal(), name: profile.name }
  }
  mkdirSync(dirname(file()), { recursive: true, mode: 0o700 })
  const next = `${file()}.${process.pid}`
  writeFileSync(next, JSON.stringify({ profiles }, null, 2) + '\n', { mode: 0o600 })
  chmodSync(next, 0o600)
  renameSync(next, file())
}

/** The control plane that the last sign-in used; before the first one, that of a local `npm start`. */
export function lastOrigin(option: string | undefined): string {
  const { profiles } = read()
  return (
    process.env['SALLYPORT_ORIGIN'] ??
    profiles[profileName(option)]?.origin ??
    Object.values(profiles)[0]?.origin ??
    `http://127.0.0.1:${process.env['SALLYPORT_PORT_CONTROL'] || 5450}`
  )
}

function read(): Stored {
  let text: string
  try {
    text = readFileSync(file(), 'utf8')
  } catch {
    return { profiles: {} }
  }
  try {
    const value = JSON.parse(text) as Partial<Stored>
    if (value.profiles !== null && typeof value.profiles === 'object') return { profiles: value.profiles }
  } catch {
    // falls through to the error below: a damaged file is told, not overwritten in silence
  }
  throw new SallyportError('bad_config', `${file()} is damaged`, { remedy: 'delete it and run `sallyport login`' })
}
