import type { Running } from './base.ts'
import type { Config } from './config.ts'

export type { Running }

/** The roles of a deployment. */
export const roles = ['control', 'gateway', 'replay'] as const
export type Role = (typeof roles)[number]

/**
 * Starts one role in this process. Each loads its own rooms and no others, so that it holds less in memory and in reach.
 */
export async function startRole(role: Role, config: Config): Promise<Running> {
  if (role === 'control') return (await import('./control.ts')).startControl(config)
  if (role === 'gateway') return (await import('./worker.ts')).startGateway(config)
  return (await import('./replay.ts')).startReplay(config)
}
