import { type ChildProcess, spawn } from 'node:child_process'
import type { Socket } from 'node:net'

export interface Lifelined {
  readonly child: ChildProcess
  /** Resolves when the command is gone, for whatever reason, with its exit code (null: killed, or never started). */
  readonly exited: Promise<number | null>
  /** Ends the command in its way, as our own death would. */
  cut(): void
}

/**
 * Runs a command that cannot outlive this process. Descriptor 3 of a small shell is a pipe whose other end only we
 * hold: when it closes, also by `kill -9`, a reader in that shell ends the command. When the shell itself is killed, we
 * close our end and the reader, which lives on, does the same. When the reader is killed nobody else holds its end: the
 * pipe closes here, and we tell the shell to end the command, since our own death would no longer be noticed.
 * @param options.ending `interrupt`: SIGINT to the command, which then ends in order; `kill`: SIGKILL to all it started.
 */
export function spawnOnLifeline(
  argv: readonly string[],
  options: {
    readonly ending: 'interrupt' | 'kill'
    readonly cwd: string
    readonly env: NodeJS.ProcessEnv
    /** Descriptors of standard output and error; `pipe` hands them to the caller. */
    readonly output: number | 'pipe'
    readonly uid?: number
    readonly gid?: number
  },
): Lifelined {
  const end = options.ending === 'interrupt' ? 'kill -INT $p' : 'kill -KILL 0'
  // Until its own handler stands, a background command of a shell ignores SIGINT: it is sent until it worked.
  const certain =
    options.ending === 'interrupt'
      ? `trap 'kill $s 2>/dev/null; wait $s; exit' TERM; while kill -INT $p 2>/dev/null; do sleep 1 & s=$!; wait $s; done`
      : end
  // A trapped signal ends a `wait`, so it is asked again until the command is gone; then its status is all that counts.
  // The trap is set after the reader was made, which must not swallow the signal that ends it.
  const script = `"$@" <&- 3<&- & p=$!
{ read -r _ <&3; ${certain}; } & w=$!
trap '${end}' INT TERM; exec 3<&-
wait $p; r=$?; while kill -0 $p 2>/dev/null; do wait $p; r=$?; done
trap '' INT TERM; kill $w 2>/dev/null; wait $w 2>/dev/null; exit $r`
  const child = spawn('/bin/sh', ['-c', script, 'sh', ...argv], {
    cwd: options.cwd,
    env: options.env,
    detached: true, // its own group: a Ctrl-C in our terminal is ours to pass on, in order
    stdio: ['ignore', options.output, options.output, 'pipe'],
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.gid! }),
  })
  const lifeline = child.stdio[3] as Socket
  lifeline.on('error', () => {})
  lifeline.on('close', () => child.kill('SIGTERM')) // of no effect where the shell is gone already
  lifeline.resume().unref()
  const exited = new Promise<number | null>(resolve => {
    const over = (code: number | null) => {
      lifeline.destroy()
      resolve(code)
    }
    child.once('exit', over)
    child.once('error', () => over(null))
  })
  return { child, exited, cut: () => void lifeline.destroy() }
}
