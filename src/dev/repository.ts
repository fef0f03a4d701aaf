import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { SallyportError } from '../errors.ts'
import { starterHostKey, type Web } from './web/start.ts'

/** Where the starter policies expect the demo targets; other ports are written into the copy. */
const shopAddress = '127.0.0.1:5455'
const webAddress = '127.0.0.1:5457'
const webEntry = /\nweb-1:\n(?: .*\n)+/
const shopEntry = /^shop-db:\n(?: .*\n)+/m

export interface Targets {
  readonly shopPort: number
  readonly web: Pick<Web, 'port' | 'hostKey' | 'login'> | undefined
  /** Where the demo server has a git repository. */
  readonly forge?: string | undefined
}

/** `offered`: newer starter policies lie on the branch `starter`, for whoever changed theirs to merge. */
export type Made = 'made' | 'kept' | 'updated' | 'offered'

/**
 * Copies the starter policies into a git repository, once: from then on it belongs to whoever commits to it. Where nobody
 * did, a later start brings it up to what the starter policies are by then; else they are offered on a branch.
 */
export function makePolicyRepository(folder: string, starter: string, targets: Targets): Made {
  const exists = existsSync(join(folder, '.git'))
  if (!exists && existsSync(folder))
    throw new SallyportError('bad_config', `${folder} exists, but is no git repository`, {
      remedy: 'move it away, then start again',
    })
  const draft = `${folder}.new`
  rmSync(draft, { recursive: true, force: true })
  cpSync(starter, draft, { recursive: true })
  const resources = join(draft, 'resources/data.yaml')
  const { shopPort, web, forge } = targets
  const shopText = withProduction(readFileSync(resources, 'utf8')).replaceAll(shopAddress, `127.0.0.1:${shopPort}`)
  const webText = web === undefined ? shopText.replace(webEntry, '') : withWeb(shopText, web)
  const hasForge = web !== undefined && forge !== undefined
  writeFileSync(resources, hasForge ? `${webText}${forgeEntry(web, forge)}` : webText)
  const roles = join(draft, 'roles/data.yaml')
  if (existsSync(roles)) {
    const open = openInProduction(readFileSync(roles, 'utf8'))
    writeFileSync(roles, hasForge ? openForge(open) : open)
  }
  try {
    if (exists) return renew(folder, draft)
    git(draft, 'init', '--quiet', '--initial-branch=main')
    git(draft, 'add', '--all')
    git(draft, 'commit', '--quiet', '--message', 'Starter policies')
    renameSync(draft, folder)
    return 'made'
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

/** Stands for a repository elsewhere, to which the audit log's checkpoints are carried. */
export function makeMirror(folder: string): void {
  if (!existsSync(folder)) git(dirname(folder), 'init', '--quiet', '--bare', '--initial-branch=main', folder)
}

/** The newest commit of ours in their history is what theirs came from: a merge of `starter` meets only what they changed. */
function renew(folder: string, draft: string): Made {
  const base = git(folder, 'rev-list', '--max-count=1', `--author=${email}`, 'HEAD')
  if (base === '') return 'kept'
  const index = join(draft, '.index')
  const env = { GIT_DIR: join(folder, '.git'), GIT_WORK_TREE: draft, GIT_INDEX_FILE: index }
  gitWith(env, draft, 'add', '--all', '--', '.', ':!.index*')
  const tree = gitWith(env, draft, 'write-tree')
  if (tree === git(folder, 'rev-parse', `${base}^{tree}`)) return 'kept'
  const commit = git(folder, 'commit-tree', tree, '-p', base, '-m', 'Starter policies, brought up to date')
  git(folder, 'branch', '--force', 'starter', commit)
  const untouched =
    git(folder, 'rev-parse', 'HEAD') === base && git(folder, 'status', '--porcelain', '--untracked-files=all') === ''
  if (!untouched) return 'offered'
  git(folder, 'merge', '--quiet', '--ff-only', 'starter')
  return 'updated'
}

/** The same shop once more, labelled as production: what the policies ask for there can be tried. */
function withProduction(text: string): string {
  return text.replace(
    shopEntry,
    entry => `${entry}\n${entry.replace('shop-db:', 'shop-prod:').replace('env: staging', 'env: production')}`,
  )
}

/** Who has a role on the shop may ask for it there too. */
function openInProduction(text: string): string {
  return text
    .replaceAll(
      /^ {4}- labels: \{ env: staging \}\n {6}max_s: (\d+)\n/gm,
      '    - { labels: { env: staging }, max_s: $1 }\n    - { labels: { env: production }, max_s: $1 }\n',
    )
    .replaceAll(
      /^ {4}- labels: \{ env: staging, class: customer-data \}\n {6}max_s: (\d+)\n/gm,
      '$&    - labels: { env: production }\n      max_s: $1\n',
    )
}

/** Git over the same demo server: whoever writes to the shop may ask to push here. */
function forgeEntry({ port, hostKey, login }: Pick<Web, 'port' | 'hostKey' | 'login'>, path: string): string {
  return `
forge:
  protocol: git
  address: 127.0.0.1:${port}
  labels:
    env: staging
    class: repository
  options:
    carrier: # how the server is reached: as a resource of ssh
      host_keys:
        - ${hostKey}
      login: { reader: ${login}, writer: ${login}, admin: ${login} }
      auth: { kind: certificate }
    repositories: # name → where the server has it; nothing else can be reached
      team/app: { path: ${path} }
    push: { secrets: true } # what is pushed is looked through for secrets
`
}

function openForge(text: string): string {
  return text.replaceAll(
    /^ {2}(writer|admin):\n/gm,
    '$&    - labels: { env: staging, class: repository }\n      max_s: 14400\n',
  )
}

/** Nobody but root may log others in, so that on most machines every role is the one login. */
function withWeb(text: string, { port, hostKey, login }: Pick<Web, 'port' | 'hostKey' | 'login'>): string {
  return text
    .replaceAll(webAddress, `127.0.0.1:${port}`)
    .replaceAll(starterHostKey, hostKey)
    .replaceAll(': deploy', `: ${login}`)
    .replaceAll(/^( +root): root$/gm, `$1: ${login}`)
}

const email = 'sallyport@example.test'
const settings = ['commit.gpgsign=false', 'core.hooksPath=/dev/null', 'user.name=Sallyport', `user.email=${email}`]

/** Independent of the user's own settings: no hooks, no signing, a name of its own. */
function git(folder: string, ...args: string[]): string {
  return gitWith({ GIT_DIR: undefined, GIT_WORK_TREE: undefined, GIT_INDEX_FILE: undefined }, folder, ...args)
}

function gitWith(own: NodeJS.ProcessEnv, folder: string, ...args: string[]): string {
  const author = { GIT_AUTHOR_NAME: undefined, GIT_AUTHOR_EMAIL: undefined }
  const run = spawnSync('git', [...settings.flatMap(setting => ['-c', setting]), ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, ...author, ...own },
  })
  if (run.error !== undefined)
    throw new SallyportError('bad_config', 'git is not installed', { remedy: 'install git, then start again' })
  if (run.status !== 0) throw new SallyportError('internal', `git ${args[0]} failed in ${folder}: ${run.stderr.trim()}`)
  return run.stdout.trim()
}
