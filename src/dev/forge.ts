import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'

/** What the resource's options take for the path of a repository. */
const fit = /^\/[A-Za-z0-9_./+-]+$/
const who = {
  GIT_AUTHOR_NAME: 'Sallyport',
  GIT_AUTHOR_EMAIL: 'sallyport@example.test',
  GIT_COMMITTER_NAME: 'Sallyport',
  GIT_COMMITTER_EMAIL: 'sallyport@example.test',
}

/**
 * A repository on the demo server, made once: `team/app` of the resource `forge`, with one commit on main.
 * @returns its path, or undefined where this folder's name fits into no command of a git client.
 */
export function makeForge(dataDir: string): string | undefined {
  const path = join(dataDir, 'app.git')
  if (!fit.test(path)) return undefined
  if (existsSync(join(path, 'HEAD'))) return path
  mkdirSync(path, { recursive: true, mode: 0o700 })
  git(path, ['init', '--quiet', '--bare', '--initial-branch=main', '.'])
  const blob = git(
    path,
    ['hash-object', '-w', '--stdin'],
    '# app\n\nPush a branch, then try to push it with --force to main.\n',
  )
  const tree = git(path, ['mktree'], `100644 blob ${blob}\tREADME.md\n`)
  git(path, ['update-ref', 'refs/heads/main', git(path, ['commit-tree', tree, '-m', 'The first commit'])])
  return path
}

/** Independent of the user's own settings. */
function git(cwd: string, args: readonly string[], input = ''): string {
  const own = Object.fromEntries(
    Object.keys(process.env)
      .filter(name => name.startsWith('GIT_'))
      .map(name => [name, undefined]),
  )
  const env = { ...process.env, ...own, ...who, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' }
  const run = spawnSync('git', args, { cwd, input, encoding: 'utf8', env })
  if (run.status !== 0) throw new Error(`git ${args[0]} failed in ${cwd}: ${run.stderr}`)
  return run.stdout.trim()
}
