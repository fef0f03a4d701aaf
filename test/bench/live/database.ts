import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbedded } from '../../../src/db/embedded.ts'
import type { DatabaseRole } from '../../../src/db/grants.ts'
import { migrate } from '../../../src/db/migrate.ts'
import { Secret } from '../../../src/secret.ts'

export interface BenchDatabase {
  /** The owner's. */
  readonly url: Secret
  readonly urls: Readonly<Record<DatabaseRole, Secret>>
  /** Gone with the server; the server's own is `pg` in it. */
  readonly folder: string
  readonly pid: number
  stop(): Promise<void>
}

/** A migrated server of its own for one benchmark, with the users of all roles. */
export async function startBenchDatabase(
  options: { readonly durable?: boolean; readonly settings?: Readonly<Record<string, string>> } = {},
): Promise<BenchDatabase> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  const server = await startEmbedded({
    name: 'the bench database',
    dataDir: join(folder, 'pg'),
    port: 0,
    superuser: 'owner',
    ...options,
  })
  const stop = async () => {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const user = (role: string) => server.url('postgres', { name: `sallyport_${role}`, password: new Secret('bench') })
    const urls = { control: user('control'), gateway: user('gateway'), replay: user('replay') }
    const url = server.url('postgres')
    await migrate(url, urls)
    return { url, urls, folder, pid: server.pid, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
