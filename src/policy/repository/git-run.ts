import { join } from 'node:path'
import { type ChildResult, runChild } from '../child.ts'

/** What no run of git may do on a repository that is hostile, or for a remote that is. */
const hardening = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.symlinks', 'false'],
  ['gc.auto', '0'],
  ['fetch.unpackLimit', '1'], // packs can be counted (git.ts)
  ['protocol.allow', 'never'],
  ['http.followRedirects', 'false'],
  ['fetch.fsckObjects', 'true'],
  ['submodule.recurse', 'false'],
  ['gpg.program', 'gpg'],
  ['gpg.ssh.program', 'ssh-keygen'],
  ['gpg.x509.program', '/bin/false'],
] as const

export interface GitRun {
  readonly cwd: string
  /** Our own folder, with the file `gitconfig`. */
  readonly dir: string
  readonly timeoutMs?: number | undefined
  readonly input?: string | undefined
  /** More settings. They go by the environment: arguments can be read by everybody on the machine. */
  readonly config?: readonly (readonly [string, string])[] | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** Runs git with an environment that holds only what is written here: no GIT_* of ours, no configuration of user or system. */
export function runGit(args: readonly string[], run: GitRun): Promise<ChildResult> {
  const config = run.config ?? []
  return runChild(['git', ...hardening.flatMap(([key, value]) => ['-c', `${key}=${value}`]), ...args], {
    cwd: run.cwd,
    env: {
      PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin',
      HOME: '/nonexistent',
      LC_ALL: 'C',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: join(run.dir, 'gitconfig'),
      GIT_TERMINAL_PROMPT: '0',
      GIT_CONFIG_COUNT: String(config.length),
      ...Object.fromEntries(
        config.flatMap(([key, value], i) => [
          [`GIT_CONFIG_KEY_${i}`, key],
          [`GIT_CONFIG_VALUE_${i}`, value],
        ]),
      ),
      ...run.env,
    },
    timeoutMs: run.timeoutMs ?? 60_000,
    maxOutput: 48 << 20,
    ...(run.input === undefined ? {} : { input: run.input }),
  })
}

/** One printable line, bounded: commit subjects and messages of git come from outside. */
export function oneLine(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\s]+/gu, ' ')
    .trim()
    .slice(0, 300)
}
