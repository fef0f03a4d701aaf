import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { socketVariable, startTestServer } from './database.ts'

/**
 * Runs in vitest's main process, which outlives every worker: the first test that wants a database makes the server
 * start here, the others share it, and it ends with this process whatever happens. A run without databases pays nothing.
 */
export default async function setup(): Promise<() => Promise<void>> {
  if (process.env[socketVariable] !== undefined) return async () => {} // the other project's setup was first
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-run-'))
  const path = join(folder, 'socket')
  let started: ReturnType<typeof startTestServer> | undefined
  const listener = createServer(socket => {
    socket.on('error', () => {})
    started ??= startTestServer()
    started.then(
      ({ offer }) => socket.end(JSON.stringify(offer)),
      error => socket.end(JSON.stringify({ error: String(error) })),
    )
  })
  await new Promise<void>((resolve, reject) => listener.once('error', reject).listen(path, resolve))
  process.env[socketVariable] = path
  return async () => {
    delete process.env[socketVariable]
    listener.close()
    await (await started?.catch(() => undefined))?.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
