import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { SallyportError } from '../../../errors.ts'
import { channelOf } from './confined.ts'
import { type Git, whyGit } from './git.ts'
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
  channel: Duplex,
  wants: readonly string[],
  how: {
    readonly limits: MirrorLimits
    readonly timeout_ms: number
    readonly max_file?: number
    readonly signal?: AbortSignal | undefined
  },
): Promise<Brought> {
  const { child, ended } = git.start(
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
  const { says, hears } = channelOf(child)
  const both = Promise.allSettled([pipeline(says, channel, { end: false }), pipeline(channel, hears)])
  const result = await ended
  channel.destroy()
  for (const pipe of [says, hears]) pipe.destroy()
  await both
  if (result.status !== 0 || result.cut !== undefined)
    throw new SallyportError(
      'target_unavailable',
      `the gateway could not read the repository on its server: ${whyGit(result)}`,
      { remedy: 'push again; if it happens again, ask an operator whether the session may read what it may write' },
    )
  return { filtered: !result.stderr.includes('filtering not recognized by server') }
}
