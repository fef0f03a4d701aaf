import { realpathSync } from 'node:fs'
import { SallyportError } from '../../errors.ts'
import { runChild } from '../child.ts'
import { type RunGit, readTree } from '../repository/git-tree.ts'
import type { Sources } from '../repository/sources.ts'

/** A repository of the person who calls us. Objects of it are read; nothing is fetched, checked out or run. */
export interface LocalRepository {
  /** The commit that a name stands for. */
  commitOf(name: string): Promise<string>
  /** The newest commit that two have in common. */
  mergeBase(a: string, b: string): Promise<string>
  /** The sources of a commit, from a folder of its tree. */
  sources(commit: string, folder: string): Promise<Sources>
  /** Where below the repository's root the caller stands: '' at the root. */
  readonly prefix: string
}

const object = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/
const settings = ['core.hooksPath=/dev/null', 'core.fsmonitor=false', 'protocol.allow=never', 'submodule.recurse=false']

/** @throws SallyportError `not_found` where there is no repository. */
export async function openLocalRepository(path: string): Promise<LocalRepository> {
  const cwd = existing(path)
  const run: RunGit = async (args, input) => {
    const result = await runChild(['git', ...settings.flatMap(each => ['-c', each]), ...args], {
      cwd,
      env: environment(cwd),
      maxOutput: 64 << 20,
      timeoutMs: 60_000,
      ...(input === undefined ? {} : { input }),
    })
    if (result.status === 0 && result.ended === undefined) return result.stdout
    const why = result.stderr.split('\n')[0]?.slice(0, 300) || `git ended with status ${result.status}`
    throw new SallyportError('not_found', `the repository ${path} cannot be read: ${why}`, {
      remedy: 'name commits, branches or tags that it has; fetch them first where they are on a server',
    })
  }
  const prefix = (await run(['rev-parse', '--show-prefix'])).toString('utf8').trim().replace(/\/$/, '')
  const one = async (...args: string[]) => {
    const text = (await run(args)).toString('latin1').trim()
    if (!object.test(text)) throw new SallyportError('not_found', `${args.at(-1)} is no commit of ${path}`)
    return text
  }
  return {
    prefix,
    commitOf: name => one('rev-parse', '--verify', '--end-of-options', `${checked(name)}^{commit}`),
    mergeBase: (a, b) => one('merge-base', checked(a), checked(b)),
    sources: (commit, folder) => readTree(run, folder === '' ? commit : `${commit}:${folder}`),
  }
}

function existing(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    throw new SallyportError('not_found', `there is no folder ${path}`, { remedy: 'name the repository with --repo' })
  }
}

/** What git may read of us: no configuration but the repository's own, and that only for a folder that was named. */
function environment(cwd: string): Record<string, string> {
  return {
    PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin',
    HOME: '/nonexistent',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_LAZY_FETCH: '1',
    GIT_CEILING_DIRECTORIES: '',
    PWD: cwd,
  }
}

function checked(name: string): string {
  if (/^[A-Za-z0-9_@~^{}./+=-]{1,300}$/.test(name) && !name.startsWith('-')) return name
  throw new SallyportError('bad_request', `${JSON.stringify(name)} is no name of a commit`, {
    remedy: 'name two commits as BASE..HEAD',
  })
}
