import { hostname, userInfo } from 'node:os'
import { say } from './output.ts'

/** `sallyport recording move`: empties the former stores into the present one. Run it on a control host, as often as you like. */
export async function moveStores(options: { config?: string }): Promise<number> {
  const { configPath } = await import('./serve.ts')
  const { loadConfig } = await import('../load-config.ts')
  const { openDatabase } = await import('../db/database.ts')
  const { createAuditWriter } = await import('../audit/writer.ts')
  const { newId } = await import('../ids.ts')
  const { secretRef } = await import('../keys.ts')
  const { openStore } = await import('../recording/open-store.ts')
  const { moveRecordings } = await import('../recording/move.ts')
  const config = loadConfig(configPath(options.config))
  const store = await openStore(config)
  const database = openDatabase({ url: secretRef(config.database.control), max: 3, application: 'sallyport move' })
  try {
    const audit = createAuditWriter({ database, process_id: newId('prc') })
    let told = 0
    const moved = await moveRecordings({
      database,
      audit,
      store,
      by: `${userName()}@${hostname()}`,
      onProgress: ({ segments, bytes }) => {
        if (segments < told + 1000) return
        told = segments
        say(`… ${segments} segments, ${size(bytes)}`)
      },
    })
    say(
      `${moved.segments} segments of ${moved.recordings} recordings (${size(moved.bytes)}) are in ${store.name}, each with the hash that was noted.`,
    )
    if (moved.failed.length > 0)
      say(
        `${moved.failed.length} could not be moved and stay where they are: ${moved.failed.slice(0, 5).join(', ')}; the log says why.`,
      )
    say(
      moved.left === 0
        ? 'The former stores are empty: take recording.former_stores out of the configuration, restart every role, and run this once more if one of them still had the old setting.'
        : `${moved.left} recordings still lie in a former store (still written, locked, or failed): leave it in the configuration, and run this again.`,
    )
    return moved.failed.length === 0 ? 0 : 1
  } finally {
    await database.close()
  }
}

const size = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`

/** A container's user may have a number only. */
export function userName(): string {
  try {
    return userInfo().username
  } catch {
    return `user ${process.getuid?.() ?? 'unknown'}`
  }
}
