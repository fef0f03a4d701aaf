import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../errors.ts'
import { starterHostKey, type Web } from './web/start.ts'

/** Where the starter policies expect the demo targets; other ports are written into the copy. */
const shopAddress = '127.0.0.1:5455'
const webAddress = '127.0.0.1:5457'
const webEntry = /\nweb-1:\n(?: .*\n)+/

/**
 * Copies the starter policies into a git repository, once: from then on it belongs to whoever commits to it.
 * @returns whether it was made now.
 */
export function makePolicyRepository(
  folder: string,
  starter: string,
  targets: { readonly shopPort: number; readonly web: Pick<Web, 'port' | 'hostKey' | 'login'> | undefined },
): boolean {
  if (existsSync(join(folder, '.git'))) return false
  if (existsSync(folder))
    throw new SallyportError('bad_config', `${folder} exists, but is no git repository`, {
      remedy: 'move it away, then start again',
    })
  const draft = `${folder}.new`
  rmSync(draft, { recursive: true, force: true })
  cpSync(starter, draft, { recursive: true })
  const resources = join(draft, 'resources/data.yaml')
  const { shopPort, web } = targets
  const starterText = readFileSync(resources, 'utf8').replaceAll(shopAddress, `127.0.0.1:${shopPort}`)
  writeFileSync(resources, web === undefined ? starterText.replace(webEntry, '') : withWeb(starterText, web))
  git(draft, 'init', '--quiet', '--initial-branch=main')
  git(draft, 'add', '--all')
  git(draft, 'commit', '--quiet', '--message', 'Starter policies')
  renameSync(draft, folder)
  return true
}

/** Nobody but root may log others in, so that on most machines every role is the one login. */
function withWeb(text: string, { port, hostKey, login }: Pick<Web, 'port' | 'hostKey' | 'login'>): string {
  return text
    .replaceAll(webAddress, `127.0.0.1:${port}`)
    .replaceAll(starterHostKey, hostKey)
    .replaceAll(': deploy', `: ${login}`)
    .replaceAll(/^( +root): root$/gm, `$1: ${login}`)
}

/** Independent of the user's own settings: no hooks, no signing, a name of its own where none is set. */
function git(folder: string, ...args: string[]): void {
  const run = spawnSync(
    'git',
    [
      '-c',
      'commit.gpgsign=false',
      '-c',
      'core.hooksPath=/dev/null',
      '-c',
      'user.name=Sallyport',
      '-c',
      'user.email=sallyport@example.test',
      ...args,
    ],
    {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, GIT_DIR: undefined, GIT_WORK_TREE: undefined },
    },
  )
  if (run.error !== undefined)
    throw new SallyportError('bad_config', 'git is not installed', { remedy: 'install git, then start again' })
  if (run.status !== 0) throw new SallyportError('internal', `git ${args[0]} failed in ${folder}: ${run.stderr.trim()}`)
}
