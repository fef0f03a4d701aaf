import { type ChildProcess, spawn } from 'node:child_process'
import type { Duplex, Readable } from 'node:stream'

export interface Confinement {
  readonly cwd: string
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>
  readonly input?: Buffer | string | undefined
  /** Open files in the place of stdin and stdout. */
  readonly from?: number | undefined
  readonly to?: number | undefined
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
}

export interface Confined {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  kill(why: 'time' | 'output' | 'abort'): void
}

/** What the caller holds itself: stdin, stdout, two further pipes of a child that talks to a target. */
export type Pipes = 'input' | 'output' | 'channel' | 'none'

/**
 * Starts a program on hostile input: an environment that holds only what is given, limits of memory, processor time and file
 * size, a deadline, bounded output; it and everything it started are gone when `ended` resolves, and when this process is
 * gone. A signal, a crash and a failed start are all an answer, never an exception.
 */
export function confine(command: readonly string[], how: Confinement, pipes: Pipes = 'none'): Confined {
  const { max_output = 32 << 20, max_stderr = 64 << 10 } = how
  const blocks = Math.ceil((how.max_file ?? 64 * 2 ** 30) / 512)
  const limits = `umask 077; ulimit -v ${how.memory_kib} 2>/dev/null; ulimit -f ${blocks} && ulimit -t ${how.cpu_s} && ulimit -c 0 || exit`
  const leash = pipes === 'channel' ? 5 : 3
  const child = spawn('/bin/sh', ['-c', `${limits}; ${onLeash(leash)} exec "$@"`, 'sh', ...command], {
    cwd: how.cwd,
    env: how.env,
    detached: true,
    stdio: [
      how.from ?? 'pipe',
      how.to ?? 'pipe',
      'pipe',
      ...(pipes === 'channel' ? ['pipe' as const, 'pipe' as const] : []),
      'pipe',
    ],
  })
  const kept: Buffer[] = []
  let [size, stderr, cut] = [0, '', undefined as Ended['cut']]
  const kill = (why: NonNullable<Ended['cut']>) => {
    cut ??= why
    endGroup(child)
  }
  const ended = new Promise<Ended>(resolve => {
    const timer = setTimeout(kill, how.timeout_ms, 'time')
    const abort = () => kill('abort')
    how.signal?.addEventListener('abort', abort, { once: true })
    if (how.signal?.aborted) abort()
    const done = (status: number | null) => {
      clearTimeout(timer)
      how.signal?.removeEventListener('abort', abort)
      endGroup(child)
      resolve({ status, stdout: Buffer.concat(kept), stderr, cut })
    }
    child.once('error', error => {
      stderr += error.message
      done(null)
    })
    // What it started may hold its pipes open for longer than it lives.
    child.once('exit', () => endGroup(child))
    child.once('close', status => done(status))
  })
  if (pipes !== 'output')
    child.stdout?.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > max_output) kill('output')
      else kept.push(chunk)
    })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (stderr.length < max_stderr) stderr += text
  })
  ;(child.stdio.at(-1) as Readable | undefined)?.resume()
  for (const pipe of child.stdio) pipe?.on('error', () => {}) // a child that does not read its input is not a fault
  if (pipes !== 'input') child.stdin?.end(how.input)
  return { child, ended, kill }
}

/**
 * INVARIANT: what is killed with no word leaves no child behind that still writes: one more pipe, of which this process holds
 * the other end, closes with it, and who reads it ends the whole group.
 */
function onLeash(fd: number): string {
  const others = fd === 5 ? '3>&- 4>&-' : ''
  return `{ read -r _ <&${fd}; kill -KILL 0; } </dev/null >/dev/null 2>&1 ${others} & exec ${fd}<&-;`
}

/** The two further pipes of a child that talks to a target: what it says, and where it hears. */
export function channelOf(child: ChildProcess): { readonly says: Readable; readonly hears: Duplex } {
  return { says: child.stdio[3] as Duplex, hears: child.stdio[4] as Duplex }
}

function endGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // it is gone already
  }
}
