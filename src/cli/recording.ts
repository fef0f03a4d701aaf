import { existsSync, readFileSync } from 'node:fs'
import { SallyportError } from '../errors.ts'
import { openExported } from '../recording/exported.ts'
import { jsonLine, parseLine } from '../recording/render.ts'
import { Secret } from '../secret.ts'
import { say } from './output.ts'
import { readingsOf } from './readings.ts'
import { JsonScreen, type Screen, TextScreen } from './screens.ts'

/** Copies a sealed recording into a folder, still sealed. On the replay host, with its configuration. */
export async function exportSealed(
  session: string,
  options: { output: string; reason: string; config?: string },
): Promise<void> {
  const { configPath } = await import('./serve.ts')
  const { loadConfig } = await import('../load-config.ts')
  const { openDatabase } = await import('../db/database.ts')
  const { secretRef } = await import('../keys.ts')
  const { createAuditWriter } = await import('../audit/writer.ts')
  const { newId } = await import('../ids.ts')
  const { openStore } = await import('../recording/open-store.ts')
  const { exportRecording } = await import('../recording/exported.ts')
  if (existsSync(options.output))
    throw new SallyportError('bad_request', `${options.output} is there already`, { remedy: 'name a new folder' })
  const config = loadConfig(configPath(options.config))
  const database = openDatabase({ url: secretRef(config.database.replay), max: 2, application: 'sallyport recording' })
  try {
    const { segments, bytes } = await exportRecording({
      database,
      store: await openStore(config),
      audit: createAuditWriter({ database, process_id: newId('prc') }),
      session_id: session,
      folder: options.output,
      reason: options.reason,
    })
    say(`${options.output} holds ${segments} sealed segments, ${bytes} bytes. That it was copied is in the audit log.`)
    say(`Who holds an identity opens it anywhere: sallyport recording open ${options.output} --identity FILE`)
  } finally {
    await database.close()
  }
}

/** Opens an exported recording with nothing but identities. @returns exit code 0 only when all of it verifies. */
export async function openSealed(folder: string, options: { identity: string[]; json?: boolean }): Promise<number> {
  const identities = options.identity.map(path => {
    try {
      return new Secret(readFileSync(path, 'utf8'))
    } catch (cause) {
      throw new SallyportError('bad_request', `${path} cannot be read: ${(cause as Error).message}`, { cause })
    }
  })
  const screen: Screen = options.json ? new JsonScreen() : new TextScreen()
  let ok = false
  for await (const line of openExported(folder, identities)) {
    const text = jsonLine(line)
    if (line.kind === 'recording') screen.reads?.(await readingsOf(parseLine(text)['protocol']))
    screen.show(parseLine(text), text)
    if (line.kind === 'end') ok = line['ok'] === true
  }
  return ok ? 0 : 1
}
