import { spawnSync } from 'node:child_process'
import { startOf } from '../db/owner.ts'

const lookMs = 300
const runners = /\b(npm|npx|pnpm|yarn|bun)\b/

interface Ancestor {
  readonly pid: number
  readonly started: string
}

/**
 * Calls back when the package runner that started this process (`npm start`: npm, and the shell in between) is gone: a
 * killed npm tells nobody. A process started from a terminal without one is not watched; signals reach it.
 */
export function watchAncestors(gone: (what: string) => void): Disposable {
  const chain = runnerChain()
  const parent = process.ppid
  const timer = setInterval(() => {
    const lost = chain.find(ancestor => startOf(ancestor.pid) !== ancestor.started)
    if (lost === undefined && (chain.length === 0 || process.ppid === parent)) return
    clearInterval(timer)
    gone(`the process that started it (pid ${lost?.pid ?? parent}) is gone`)
  }, lookMs)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

/** Our ancestors up to the package runner, or none where no runner started us. */
function runnerChain(): Ancestor[] {
  if (process.env['npm_lifecycle_event'] === undefined && process.env['npm_command'] === undefined) return []
  const chain: Ancestor[] = []
  for (let pid = process.ppid; pid > 1 && chain.length < 4; ) {
    const ps = spawnSync('ps', ['-o', 'ppid=,command=', '-p', String(pid)], { encoding: 'utf8' })
    const [, parent, command] = /^\s*(\d+)\s+(.*)$/s.exec(ps.stdout ?? '') ?? []
    const started = startOf(pid)
    if (parent === undefined || command === undefined || started === undefined) return []
    chain.push({ pid, started })
    if (runners.test(command) && !/^\S*sh -c/.test(command)) return chain
    pid = Number(parent)
  }
  return []
}
