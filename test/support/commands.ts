import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
}

/** A program that runs beside the test, with everything it said so far. */
export class Command {
  readonly child: ChildProcessWithoutNullStreams
  stdout = ''
  stderr = ''
  readonly ended: Promise<Outcome>
  readonly #name: string

  constructor([program, ...args]: readonly string[], options: CommandOptions = {}) {
    this.#name = [program, ...args].join(' ')
    this.child = spawn(program!, args, { env: options.env ?? process.env, cwd: options.cwd, stdio: 'pipe' })
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.child.stdin.on('error', () => {}) // it may be gone before it read everything
    this.ended = once(this.child, 'close').then(([code, signal]) => ({
      code: (code as number | null) ?? (signal === null ? -1 : 128),
      stdout: this.stdout,
      stderr: this.stderr,
    }))
  }

  write(text: string): void {
    this.child.stdin.write(text)
  }

  /** Waits until it has said this, on either stream. @returns the match. */
  async says(pattern: RegExp, within_ms = 30_000): Promise<RegExpExecArray> {
    const deadline = performance.now() + within_ms
    for (;;) {
      const found = pattern.exec(this.stdout) ?? pattern.exec(this.stderr)
      if (found !== null) return found
      if (performance.now() > deadline || this.child.exitCode !== null) {
        const last = pattern.exec(this.stdout) ?? pattern.exec(this.stderr)
        if (last !== null) return last
        throw new Error(
          `'${this.#name}' did not say ${pattern}\n--- stdout\n${this.stdout}\n--- stderr\n${this.stderr}`,
        )
      }
      await new Promise(resolve => setTimeout(resolve, 15))
    }
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.child.kill(signal)
  }
}

/** Runs a program to its end; what it wants to read is given at once. */
export function runCommand(
  argv: readonly string[],
  options: CommandOptions & { input?: string } = {},
): Promise<Outcome> {
  const command = new Command(argv, options)
  command.child.stdin.end(options.input ?? '')
  return command.ended
}
