import { readdirSync, readFileSync } from 'node:fs'

/** Proportional set size of a process in MiB: what it costs, with what it shares divided among those that share it. */
export function pssMiB(pid: number): number {
  return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024
}

/** Resident set in MiB, and its peak since `resetPeak`. */
export function rssMiB(pid: number, field: 'VmRSS' | 'VmHWM' = 'VmRSS'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024
}

/** Processes whose command line matches, below a process. */
export function below(pid: number, command: RegExp): number[] {
  const found: number[] = []
  for (const child of childrenOf(pid)) {
    if (command.test(readFileSync(`/proc/${child}/cmdline`, 'utf8').replaceAll('\0', ' '))) found.push(child)
    found.push(...below(child, command))
  }
  return found
}

function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap(task =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  )
}

/** User and system time of a process in seconds; with what its children took, living ones and those that it waited for. */
export function cpuSeconds(pid: number, children?: 'with children'): number {
  // proc(5): after the last ')' fields 14 to 17, in ticks of 1/100 s.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  const [user, system, childUser, childSystem] = fields.slice(11, 15).map(Number) as [number, number, number, number]
  if (children === undefined) return (user + system) / 100
  const living = childrenOf(pid).reduce((sum, child) => sum + cpuIfAlive(child), 0)
  return (user + system + childUser + childSystem) / 100 + living
}

function cpuIfAlive(pid: number): number {
  try {
    return cpuSeconds(pid, 'with children')
  } catch {
    return 0 // it ended in this moment: the next look has it with its parent
  }
}
