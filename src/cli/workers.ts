import type { ChildProcess } from 'node:child_process'
import cluster from 'node:cluster'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'

const log = logger('serve')

export interface Running {
  close(): Promise<void>
}

/** The gateway's workers share its ports (node:cluster). One that dies is replaced; its sessions are sealed by the others. */
export async function runWorkers(count: number): Promise<Running> {
  let closing = false
  cluster.setupPrimary({ exec: process.argv[1]!, args: process.argv.slice(2), serialization: 'advanced' })
  const start = (): Promise<void> => {
    const worker = cluster.fork()
    const born = Date.now()
    worker.once('exit', (code, signal) => {
      if (closing) return
      log.error({ pid: worker.process.pid, code, signal }, 'a gateway worker ended; another takes its place')
      setTimeout(() => !closing && void start().catch(() => {}), Date.now() - born < 5_000 ? 2_000 : 0)
    })
    return firstWord(worker.process)
  }
  await Promise.all(Array.from({ length: count }, start))
  return {
    async close() {
      closing = true
      const left = Object.values(cluster.workers ?? {}).filter(w => w !== undefined)
      await Promise.all(left.map(worker => ended(worker.process, () => worker.process.kill('SIGTERM'))))
    },
  }
}

/** The first message of a child: ready, or what is wrong. */
export function firstWord(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.on('message', (message: { ready?: boolean; problem?: string }) => {
      if (message?.ready === true) resolve()
      if (typeof message?.problem === 'string') reject(new SallyportError('bad_config', message.problem))
    })
    child.once('exit', code =>
      reject(new SallyportError('internal', `a process ended with code ${code} before it was ready`)),
    )
  })
}

export function ended(child: ChildProcess, stop: () => void): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise(resolve => {
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
    child.once('exit', () => {
      clearTimeout(timer)
      resolve()
    })
    stop()
  })
}
