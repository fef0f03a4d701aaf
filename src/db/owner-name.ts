import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { startOf } from './owner.ts'

/** A process in the name of a file that it owns: whoever renames the file to its own name owns it then. */
export function ownName(): string {
  return `${hostName()}.${process.pid}.${startName(process.pid)}`
}

/**
 * Whether the process of such a name lives. `elsewhere`: another host, or another boot of this one that cannot be told
 * apart; the database knows.
 */
export function stateOfOwner(name: string): 'alive' | 'dead' | 'elsewhere' {
  const [host, pid, start] = name.split('.')
  if (host !== hostName()) return 'elsewhere'
  return startName(Number(pid)) === start ? 'alive' : 'dead'
}

/** Which boot of a machine the process of such a name belongs to; '' where the system does not say. */
export function bootOf(name: string): string {
  return name.split('.')[0]?.split('-').at(-2) ?? ''
}

/** What names of owners look like, as part of a pattern. */
export const ownerPattern = '[A-Za-z0-9-]*\\.\\d+\\.[A-Za-z0-9-]+'

/** When a process began, so that a reused pid is not taken for it. */
function startName(pid: number): string | undefined {
  return startOf(pid)?.replaceAll(/[^A-Za-z0-9]/g, '-')
}

/**
 * This host, this boot of it, and this namespace of processes: a pid says who lives only where all three are the same. Two
 * containers may share a host name and a volume, and see nothing of each other's processes.
 */
function hostName(): string {
  const parts = [hostname(), read(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8))]
  parts.push(read(() => readlinkSync('/proc/self/ns/pid').replaceAll(/\D/g, '')))
  return parts.join('-').replaceAll(/[^A-Za-z0-9-]/g, '-')
}

/** What other systems than Linux do not say is left empty. */
function read(what: () => string): string {
  try {
    return what()
  } catch {
    return ''
  }
}
