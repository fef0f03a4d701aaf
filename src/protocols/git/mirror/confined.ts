import type { Duplex, Readable, Writable } from 'node:stream'
import { launch } from './launcher.ts'

export interface Confinement {
  readonly cwd: string
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>
  readonly input?: Buffer | string | undefined
  /** Files in the place of stdin and stdout; the second is written anew. */
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly timeout_ms: number
  readonly memory_kib: number
  readonly cpu_s: number
  /** Bytes of stdout that are kept; more ends the child. */
  readonly max_output?: number
  /** Bytes of stderr that are kept. */
  readonly max_stderr?: number | undefined
  /** Files may not grow beyond. */
  readonly max_file?: number
  readonly signal?: AbortSignal | undefined
}

export interface Ended {
  readonly status: number | null
  readonly stdout: Buffer
  readonly stderr: string
  /** Why it was ended before its time. */
  readonly cut: 'time' | 'output' | 'abort' | undefined
  /** It never began, or what starts programs has ended: that says nothing of its input. */
  readonly fault?: string | undefined
}

export interface Confined {
  /** Where the caller writes its input (`input`), or reads its output (`output`). */
  readonly stdin: Writable | undefined
  readonly stdout: Readable | undefined
  /** The two further pipes of one that talks to a target (`channel`): what it says, and where it hears. */
  readonly says: Readable | undefined
  readonly hears: Duplex | undefined
  readonly ended: Promise<Ended>
  kill(why: 'time' | 'output' | 'abort'): void
}

/** What the caller holds itself: stdin, stdout, two further pipes. */
export type Pipes = 'input' | 'output' | 'channel' | 'none'

/**
 * Starts a program on hostile input: an environment that holds only what is given, limits of memory, processor time and file
 * size, a deadline, bounded output; it and everything it started are gone when `ended` resolves, and when this process is
 * gone. A signal, a crash and a failed start are all an answer, never an exception.
 */
export function confine(command: readonly string[], how: Confinement, pipes: Pipes = 'none'): Confined {
  const { from, to, max_output = 32 << 20, max_stderr = 64 << 10 } = how
  const blocks = Math.ceil((how.max_file ?? 64 * 2 ** 30) / 512)
  const limits = `umask 077; ulimit -v ${how.memory_kib} 2>/dev/null; ulimit -f ${blocks} && ulimit -t ${how.cpu_s} && ulimit -c 0 || exit`
  const leash = pipes === 'channel' ? 5 : 3
  const launched = launch({
    command: ['/bin/sh', '-c', `${limits}; ${onLeash(leash)} exec "$@"`, 'sh', ...command],
    cwd: how.cwd,
    env: how.env,
    stdio: [
      from !== undefined ? { path: from, flags: 'r' } : pipes === 'input' || how.input !== undefined ? 'pipe' : null,
      to !== undefined ? { path: to, flags: 'w' } : 'pipe',
      'pipe',
      ...(pipes === 'channel' ? (['pipe', 'pipe'] as const) : []),
    ],
  })
  const [stdin, stdout, errors, says, hears] = launched.pipes
  const kept: Buffer[] = []
  let [size, stderr, cut] = [0, '', undefined as Ended['cut']]
  const kill = (why: NonNullable<Ended['cut']>) => {
    cut ??= why
    launched.kill()
  }
  const timer = setTimeout(kill, how.timeout_ms, 'time')
  const abort = () => kill('abort')
  how.signal?.addEventListener('abort', abort, { once: true })
  if (how.signal?.aborted) abort()
  const ended = Promise.all([launched.exited, closed(stdout), closed(errors)]).then(([{ status, why: fault }]) => {
    clearTimeout(timer)
    how.signal?.removeEventListener('abort', abort)
    stdin?.destroy()
    return { status, stdout: Buffer.concat(kept), stderr: stderr + (fault ?? ''), cut, fault }
  })
  if (pipes !== 'output')
    stdout?.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > max_output) kill('output')
      else kept.push(chunk)
    })
  errors?.setEncoding('utf8').on('data', (text: string) => {
    if (stderr.length < max_stderr) stderr += text
  })
  if (pipes !== 'input') stdin?.end(how.input)
  return { stdin, stdout, says, hears, ended, kill }
}

const closed = (pipe: Duplex | undefined): Promise<void> =>
  pipe === undefined || pipe.closed ? Promise.resolve() : new Promise(resolve => pipe.once('close', resolve))

/**
 * INVARIANT: what is killed with no word leaves no child behind that still writes: one more pipe, of which this process holds
 * the other end, closes with it, and who reads it ends the whole group.
 */
function onLeash(fd: number): string {
  const others = fd === 5 ? '3>&- 4>&-' : ''
  return `{ read -r _ <&${fd}; kill -KILL 0; } </dev/null >/dev/null 2>&1 ${others} & exec ${fd}<&-;`
}
