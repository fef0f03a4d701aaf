import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { SallyportError } from '../../../errors.ts'
import { begun, type Git, whyGit } from './git.ts'
import type { MirrorLimits } from './limits.ts'

/** Git asks for "ssh" and gets the two pipes that we hold: bytes of the session's own channel. */
const carrier = "sh -c 'cat <&4 & exec cat >&3'"

export interface Brought {
  /** The target left the files out, as it was asked to. */
  readonly filtered: boolean
}

/**
 * Fetches objects from the target into the objects of `git`'s place: git's own client speaks both protocols, says what is
 * here already, and checks what comes; the channel is the session's. Files (blobs) come only where they are asked for by id.
 * @throws SallyportError `target_unavailable`
 */
export async function bring(
  git: Git,
  target: { fetch(): Promise<Duplex> },
  wants: readonly string[],
  how: {
    readonly limits: MirrorLimits
    readonly timeout_ms: number
    readonly max_file?: number
    readonly signal?: AbortSignal | undefined
  },
): Promise<Brought> {
  const { silent_ms } = how.limits
  const channel = await opened(target, silent_ms)
  const { says, hears, ended, kill } = git.start(
    ['fetch-pack', '--keep', '--no-progress', '--filter=blob:none', '--stdin', 'ssh://target/repository'],
    {
      input: `${wants.join('\n')}\n`,
      timeout_ms: how.timeout_ms,
      signal: how.signal,
      config: [['protocol.ssh.allow', 'always']],
      env: { GIT_SSH_COMMAND: carrier, GIT_SSH_VARIANT: 'simple' },
      max_file: how.max_file,
      max_output: 64 << 20,
    },
    'channel',
  )
  if (says === undefined || hears === undefined) throw new TypeError('no channel')
  const silence = new Silence(
    silent_ms,
    () => {
      kill('time')
      channel.destroy() // nothing else ends the pipe on which git would hear it
    },
    () => hears.writableNeedDrain,
  )
  says.on('data', () => silence.begin())
  channel.on('data', (chunk: Buffer) => silence.heard(chunk)).once('end', () => silence.end())
  const both = Promise.allSettled([pipeline(says, channel, { end: false }), pipeline(channel, hears)])
  const result = await ended
  silence.end()
  channel.destroy()
  for (const pipe of [says, hears]) pipe.destroy()
  await both
  begun(result)
  if (/^error: Server does not allow request for unadvertised object/m.test(result.stderr)) throw new Unadvertised()
  if (result.status !== 0 || result.cut !== undefined)
    throw new SallyportError(
      'target_unavailable',
      `the gateway could not read the repository on its server: ${silence.isOver ? saidNothing(silent_ms) : whyGit(result)}`,
      { remedy: 'push again; if it happens again, ask an operator whether the session may read what it may write' },
    )
  return { filtered: !result.stderr.includes('filtering not recognized by server') }
}

/** A server of protocol 0 hands out what its refs name, and nothing by its id. */
export class Unadvertised extends SallyportError {
  override readonly name = 'Unadvertised'

  constructor() {
    super('target_unavailable', 'the server of the repository hands out no object by its id', {
      remedy: 'let it speak protocol 2 (git 2.18 or newer), or set uploadpack.allowAnySHA1InWant there',
    })
  }
}

const saidNothing = (ms: number) => `it said nothing for ${ms / 1_000} s`

/** @throws SallyportError `target_unavailable` */
async function opened(target: { fetch(): Promise<Duplex> }, ms: number): Promise<Duplex> {
  const opening = target.fetch()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      opening.then(channel => channel.destroy()).catch(() => {})
      const why = `the gateway could not read the repository on its server: ${saidNothing(ms)}`
      reject(new SallyportError('target_unavailable', why, { remedy: 'push again' }))
    }, ms)
  })
  return Promise.race([opening, late]).finally(() => clearTimeout(timer))
}

/**
 * A target that owes an answer and says nothing is given up: others wait for what it is asked for. Behind a flush line it owes
 * none: git is busy with what came, and speaks next.
 */
class Silence {
  readonly #ms: number
  readonly #over: () => void
  readonly #isBusy: () => boolean
  #timer: NodeJS.Timeout | undefined
  isOver = false

  /** `isBusy`: git has not read yet what came. */
  constructor(ms: number, over: () => void, isBusy: () => boolean) {
    this.#ms = ms
    this.#over = over
    this.#isBusy = isBusy
    this.begin()
  }

  begin(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      if (this.#isBusy()) return this.begin()
      this.isOver = true
      this.#over()
    }, this.#ms)
  }

  heard(chunk: Buffer): void {
    if (chunk.toString('latin1', Math.max(0, chunk.length - 4)) === '0000') this.end()
    else this.begin()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}
