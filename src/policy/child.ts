import { spawn } from 'node:child_process'

export interface ChildOptions {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string | Buffer
  readonly timeoutMs?: number
  /** Bytes of stdout that are kept; more ends the child. */
  readonly maxOutput?: number
}

export interface ChildResult {
  readonly status: number | null
  readonly stdout: Buffer
  readonly stderr: string
  /** Why it was ended before its time, else undefined. */
  readonly ended: 'timeout' | 'output' | undefined
}

const memoryKib = 4 << 20 // address space: Go reserves far more than it uses
const fileBlocks = 1 << 19 // 256 MiB in blocks of 512 bytes
const cpuS = 60

/**
 * Runs a program on hostile input: an environment that holds only what is given, limits of memory, CPU time and file
 * size, a deadline for it and everything it started, and bounded output. It throws only when it cannot be started.
 */
export function runChild(command: readonly string[], options: ChildOptions): Promise<ChildResult> {
  const { cwd, env = {}, input, timeoutMs = 30_000, maxOutput = 32 << 20 } = options
  const limits = `ulimit -v ${memoryKib} 2>/dev/null; ulimit -f ${fileBlocks} && ulimit -t ${cpuS} && ulimit -c 0 && exec "$@"`
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', limits, 'sh', ...command], { cwd, env, detached: true, stdio: 'pipe' })
    const kept: Buffer[] = []
    let [size, stderr, ended] = [0, '', undefined as ChildResult['ended']]
    const end = (why: 'timeout' | 'output') => {
      ended ??= why
      if (child.pid !== undefined) endGroup(child.pid)
    }
    const timer = setTimeout(() => end('timeout'), timeoutMs)
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > maxOutput) end('output')
      else kept.push(chunk)
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (stderr.length < 64 * 1024) stderr += text
    })
    child.stdin.on('error', () => {}) // a child that does not read its input is not a fault
    child.stdin.end(input)
    child.once('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', status => {
      clearTimeout(timer)
      resolve({ status, stdout: Buffer.concat(kept), stderr, ended })
    })
  })
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // it is gone already
  }
}
