import { SallyportError } from '../../../errors.ts'
import { PushFault } from '../push.ts'
import { type Confined, type Confinement, confine, type Ended, type Pipes } from './confined.ts'
import { type MirrorLimits, threads } from './limits.ts'

/** What no run of git may do on objects that are hostile, or on words of a target that is. */
const hardening = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.attributesFile', '/dev/null'],
  ['core.packedGitWindowSize', '16m'],
  ['core.packedGitLimit', '512m'],
  ['core.deltaBaseCacheLimit', '64m'],
  ['core.bigFileThreshold', '16m'], // larger files pass through a buffer and are never whole in memory
  ['core.logAllRefUpdates', 'false'],
  ['pack.threads', String(threads)],
  ['pack.windowMemory', '64m'],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['transfer.unpackLimit', '1'],
  ['protocol.allow', 'never'],
  ['submodule.recurse', 'false'],
  ['log.showSignature', 'false'],
  ['gpg.program', 'gpg'],
  ['gpg.ssh.program', 'ssh-keygen'],
  ['gpg.x509.program', '/bin/false'],
] as const

/** Where a run of git finds objects, and where it puts new ones. */
export interface Place {
  /** The bare repository of the mirror. */
  readonly repository: string
  /** Objects of a quarantine: new ones go there, and the mirror's are read besides. */
  readonly objects?: string | undefined
  /** Ends every run. */
  readonly signal?: AbortSignal | undefined
}

export interface GitOptions {
  readonly input?: Buffer | string | undefined
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly timeout_ms?: number | undefined
  readonly max_output?: number | undefined
  readonly max_stderr?: number | undefined
  readonly max_file?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly config?: readonly (readonly [string, string])[] | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  /** No objects but those of the quarantine. */
  readonly alone?: boolean | undefined
}

/** Runs git on a mirror. It reads no configuration but the mirror's own, which we wrote and nobody else can. */
export class Git {
  readonly place: Place
  readonly #limits: MirrorLimits

  constructor(place: Place, limits: MirrorLimits) {
    this.place = place
    this.#limits = limits
  }

  /** The same mirror with the objects of a quarantine. */
  with(objects: string, signal?: AbortSignal): Git {
    return new Git({ repository: this.place.repository, objects, signal }, this.#limits)
  }

  start(args: readonly string[], options: GitOptions = {}, pipes: Pipes = 'none'): Confined {
    const config = [...hardening, ...(options.config ?? [])].flatMap(([key, value]) => ['-c', `${key}=${value}`])
    return confine(['git', ...config, ...args], this.confinement(options), pipes)
  }

  /** @throws PushFault */
  async try(args: readonly string[], options: GitOptions = {}): Promise<Ended> {
    return begun(await this.start(args, options).ended)
  }

  /** @returns what it wrote. @throws Unreadable where it failed. */
  async run(args: readonly string[], options: GitOptions = {}): Promise<Buffer> {
    const ended = await this.try(args, options)
    if (ended.status !== 0 || ended.cut !== undefined) throw new Unreadable(`git ${args[0]}: ${whyGit(ended)}`)
    return ended.stdout
  }

  async text(args: readonly string[], options: GitOptions = {}): Promise<string> {
    return (await this.run(args, options)).toString('utf8')
  }

  confinement(options: GitOptions): Confinement {
    const { repository, objects } = this.place
    return {
      cwd: repository,
      env: {
        PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin',
        HOME: '/nonexistent',
        LC_ALL: 'C',
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_ATTR_NOSYSTEM: '1',
        GIT_TERMINAL_PROMPT: '0',
        GIT_NO_REPLACE_OBJECTS: '1',
        GIT_DIR: repository,
        ...(objects === undefined
          ? {}
          : {
              GIT_OBJECT_DIRECTORY: objects,
              ...(options.alone !== true && { GIT_ALTERNATE_OBJECT_DIRECTORIES: `${repository}/objects` }),
            }),
        ...options.env,
      },
      input: options.input,
      from: options.from,
      to: options.to,
      timeout_ms: options.timeout_ms ?? this.#limits.question_ms,
      memory_kib: this.#limits.memory_kib,
      cpu_s: this.#limits.cpu_s,
      ...(options.max_output !== undefined && { max_output: options.max_output }),
      max_stderr: options.max_stderr,
      max_file: options.max_file ?? this.#limits.mirror_bytes,
      signal: options.signal ?? this.place.signal,
    }
  }
}

/** Objects that a question needs are not here, or git could not read them: a mirror that says so is made anew. */
export class Unreadable extends SallyportError {
  override readonly name = 'Unreadable'

  readonly why: string

  constructor(why: string) {
    super('target_unavailable', `the gateway's mirror of the repository cannot be read: ${why}`, {
      remedy: 'push again: the mirror is made anew; if it happens again, ask an operator to look at the gateway',
    })
    this.why = why
  }
}

/** INVARIANT: that git could not be started makes no mirror damaged and no push bad. @throws PushFault */
export function begun(ended: Ended): Ended {
  if (ended.fault === undefined) return ended
  throw new PushFault(
    'not_ready',
    `the gateway cannot run git now: ${plain(ended.fault)}`,
    'push again in a few minutes; if it happens again, tell an operator',
  )
}

export function whyGit({ cut, stderr, status }: Ended): string {
  if (cut === 'time') return 'it took too long'
  if (cut === 'output') return 'its answer is larger than what is read'
  if (cut === 'abort') return 'the session ended'
  return plain(stderr) || `it ended with status ${status}`
}

/** One printable line, bounded: what git says may quote what came from outside. */
export function plain(text: string, most = 300): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\s]+/gu, ' ')
    .trim()
    .slice(0, most)
    .replace(/[\ud800-\udbff]$/, '') // half a letter is no text to policy
}
