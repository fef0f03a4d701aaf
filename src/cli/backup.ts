import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { copyFile, mkdir, readdir, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { canonical, digest, type Json } from '../canonical.ts'
import type { Config } from '../config.ts'
import { type Dump, dumpDatabase, loadDatabase } from '../db/dump.ts'
import { packageVersion } from '../db/package-root.ts'
import { SallyportError } from '../errors.ts'
import { secretRef } from '../keys.ts'
import { instant, plain, say } from './output.ts'

const format = 'sallyport-backup-v1'
const manifestFile = 'backup.json'
const restoredCode = 'restored'

interface SavedFile {
  readonly file: string
  readonly bytes: number
  readonly sha256: string
}

interface Manifest extends Dump {
  readonly format: typeof format
  readonly deployment: string
  readonly version: string
  /** Where the audit log stood: what a restore goes back to. */
  readonly log_size: number
  readonly files: readonly SavedFile[]
  /** Recordings that were copied; null where their store is not a folder of this host. */
  readonly recordings: { readonly files: number; readonly bytes: number } | null
}

/** `sallyport backup`: everything but keys and secrets, as of one moment, into a new folder. */
export async function backup(options: { config?: string; to: string; recordings?: boolean }): Promise<void> {
  const { path, config } = await settings(options.config)
  const folder = resolve(options.to)
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new SallyportError('conflict', `${folder} is not empty`, { remedy: 'name a new folder for each backup' })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const { dump, also: log_size } = await dumpDatabase(ownerOf(config), folder, async sql => {
    const [state] = await sql<{ size: string }[]>`select size::text from audit_state where id = 1`
    return Number(state?.size ?? 0)
  })
  const files = [await save(path, folder, 'sallyport.yaml')] // it names keys and secrets, and holds none
  const source = recordingsFolder(config)
  const recordings =
    source === null || options.recordings === false ? null : await copyRecordings(source, join(folder, 'recordings'))
  const manifest: Manifest = {
    format,
    deployment: config.deployment,
    version: packageVersion(),
    log_size,
    ...dump,
    files,
    recordings,
  }
  const text = canonical(manifest as unknown as Json)
  // Last, so that a folder with a manifest is a whole backup.
  writeFileSync(join(folder, manifestFile), text + '\n', { mode: 0o600, flag: 'wx' })
  await recordBackup(config, { manifest: digest(text), log_size, at_ms: dump.at_ms })
  const rows = dump.tables.reduce((sum, table) => sum + table.rows, 0)
  say(
    `${folder} holds the database (${rows} rows of ${dump.tables.length} tables) as of ${instant(dump.at_ms)}, ${log_size} entries of the audit log.`,
  )
  say(
    recordings === null
      ? 'Recordings are NOT in it: their store is backed up where it is.'
      : `Recordings: ${recordings.files} files.`,
  )
  say(`SHA-256 of ${manifestFile}: ${digest(text)} (event backup.made)`)
  say('Keys are not in it. Keep these apart from it, and where they cannot be lost together:')
  for (const key of keysOf(config)) say(`  ${key}`)
  say(`The copy of the checkpoints (${config.audit.copy}) is no part of a backup: it must outlive what happens here.`)
}

/** `sallyport restore`: into an empty database, after every file was held against the manifest. */
export async function restore(options: { config?: string; from: string; keepTokens?: boolean }): Promise<void> {
  const { config } = await settings(options.config)
  const folder = resolve(options.from)
  const manifest = readManifest(folder)
  if (manifest.deployment !== config.deployment)
    throw new SallyportError(
      'conflict',
      `this is a backup of ${plain(manifest.deployment)}, and the configuration is of ${config.deployment}`,
    )
  for (const each of [...manifest.tables, ...manifest.files]) await check(folder, each)
  const { migrate } = await import('../db/migrate.ts')
  const { control, gateway, replay } = config.database
  const owner = ownerOf(config)
  await migrate(owner, { control: secretRef(control), gateway: secretRef(gateway), replay: secretRef(replay) })
  const ended = { grants: 0, sessions: 0, tokens: 0 }
  await loadDatabase(owner, folder, manifest, async sql => {
    // What was revoked since is not revoked in a backup: nothing that gives access is taken over from it.
    await sql`delete from web_sessions`
    await sql`update tickets set ended_at = now() where ended_at is null`
    const sessions = await sql`
      update sessions set ended_at = now(), end_code = ${restoredCode}, end_reason = 'restored from a backup' where ended_at is null returning id`
    await sql`update connections set closed_at = now(), close_reason = 'restored from a backup' where closed_at is null`
    const grants = await sql`
      update grants set ended_at = now(), revoked_at = now(), revoke_reason = 'restored from a backup' where ended_at is null returning id`
    const tokens = options.keepTokens
      ? []
      : await sql`update api_tokens set revoked_at = now() where revoked_at is null and expires_at > now() returning id`
    Object.assign(ended, { grants: grants.length, sessions: sessions.length, tokens: tokens.length })
  })
  await restoreRecordings(config, folder, manifest)
  say(`Restored as of ${instant(manifest.at_ms)}: ${manifest.log_size} entries of the audit log.`)
  say(
    `Ended, for what was revoked since is not revoked in a backup: ${ended.grants} grants, ${ended.sessions} sessions, ${ended.tokens} API tokens, and every sign-in.`,
  )
  say(
    'What was erased or deleted since the backup is in it again: retention deletes it at its next run, an erasure must be proposed again; people who were disabled since must be disabled again.',
  )
  await sayResume(config, manifest)
}

async function sayResume({ audit }: Config, { log_size }: Manifest): Promise<void> {
  const { CheckpointCopy } = await import('../audit/copy.ts')
  const line = await new CheckpointCopy(audit.copy).latest()
  const size = line?.note.split('\n')[line.kind === 'break' ? 3 : 1]?.split(' ')[0]
  if (size === undefined || Number(size) <= log_size) return
  say(
    `The copy at ${audit.copy} knows of ${size} signed entries. Nothing is signed, and \`sallyport audit verify\` fails, until you declare it:`,
  )
  say(`  sallyport audit resume --from ${size} --reason '…'`)
}

async function settings(option: string | undefined): Promise<{ path: string; config: Config }> {
  const { configPath } = await import('./serve.ts')
  const { loadConfig } = await import('../load-config.ts')
  const path = configPath(option)
  return { path, config: loadConfig(path) }
}

function ownerOf({ database }: Config) {
  if (database.owner !== undefined) return secretRef(database.owner)
  throw new SallyportError('bad_config', 'database.owner is missing', {
    remedy: 'name the URL of the owner of the database: none of the three roles may read everything',
  })
}

/** The folder of recordings, where they lie on this host. */
function recordingsFolder({ data, recording }: Config): string | null {
  const { store = { kind: 'files' as const } } = recording
  return store.kind === 'files' ? (('folder' in store ? store.folder : undefined) ?? join(data, 'recordings')) : null
}

function keysOf({ keys, recording, secrets, database }: Config): string[] {
  const { identity, originals_identity } = recording
  const all = [
    keys.control,
    keys.gateway,
    keys.replay,
    identity,
    originals_identity,
    ...Object.values(secrets).map(s => s.from),
    ...Object.values(database),
  ]
  return [...new Set(all.filter(each => each !== undefined))]
}

async function recordBackup(
  config: Config,
  about: { manifest: string; log_size: number; at_ms: number },
): Promise<void> {
  const { openDatabase } = await import('../db/database.ts')
  const { createAuditWriter } = await import('../audit/writer.ts')
  const { newId } = await import('../ids.ts')
  const { userName } = await import('./stores.ts')
  const database = openDatabase({ url: secretRef(config.database.control), max: 1, application: 'sallyport backup' })
  try {
    const audit = createAuditWriter({ database, process_id: newId('prc') })
    const body = { ...about, by: `${userName()}@${hostname()}` }
    await database.db.transaction(tx => audit.record(tx, { type: 'backup.made', body }))
  } finally {
    await database.close()
  }
}

async function save(path: string, folder: string, file: string): Promise<SavedFile> {
  const to = join(folder, file)
  await mkdir(dirname(to), { recursive: true, mode: 0o700 })
  await copyFile(path, to)
  return { file, bytes: (await stat(to)).size, sha256: await hashFile(to) }
}

/** Their names carry the hash of their bytes: a manifest of their own would say no more. */
async function copyRecordings(from: string, to: string): Promise<{ files: number; bytes: number }> {
  const copied = { files: 0, bytes: 0 }
  if (!existsSync(from)) return copied
  await mkdir(to, { recursive: true, mode: 0o700 })
  for (const name of await readdir(from, { recursive: true })) {
    if (!name.endsWith('.seg')) continue
    const target = join(to, name)
    try {
      await mkdir(dirname(target), { recursive: true, mode: 0o700 })
      await copyFile(join(from, name), target)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue // deleted meanwhile
      throw error
    }
    copied.files++
    copied.bytes += (await stat(target)).size
  }
  return copied
}

async function restoreRecordings(config: Config, folder: string, manifest: Manifest): Promise<void> {
  const target = recordingsFolder(config)
  if (target !== null && manifest.recordings !== null) await copyRecordings(join(folder, 'recordings'), target)
}

function readManifest(folder: string): Manifest {
  const path = join(folder, manifestFile)
  if (!existsSync(path))
    throw new SallyportError(
      'not_found',
      `there is no ${manifestFile} in ${folder}: it is no backup, or one that was not finished`,
    )
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as Manifest
  if (manifest.format !== format) throw new SallyportError('unsupported', `${path} is of another format than ${format}`)
  const inside = [...manifest.tables, ...manifest.files].every(
    ({ file }) => !file.startsWith('/') && !file.split('/').includes('..'),
  )
  if (!inside) throw new SallyportError('bad_request', `${path} names files outside of the backup`)
  return manifest
}

async function check(folder: string, { file, sha256 }: Pick<SavedFile, 'file' | 'sha256'>): Promise<void> {
  const path = join(folder, file)
  if (!existsSync(path)) throw new SallyportError('conflict', `the backup is not whole: ${file} is missing`)
  if ((await hashFile(path)) !== sha256)
    throw new SallyportError('conflict', `the backup is damaged: ${file} is not what was written`, {
      remedy: 'take another backup',
    })
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
