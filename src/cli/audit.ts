import type { KeyObject } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { OutsidePoint } from '../audit/verify-outside.ts'
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import type { RootKey } from '../keys.ts'
import type { Client } from './client.ts'
import { instant, plain, say, table } from './output.ts'

const maxProofBytes = 16 * 1024 * 1024
const maxNoteBytes = 65_536

interface EventAnswer {
  readonly id: string
  readonly at_ms: number
  readonly type: string
  readonly index: number | null
  readonly subject_id: string | null
  readonly session_id: string | null
  readonly resource: string | null
}

/** What `audit verify` and `audit resume` need of a control host: the database, the log's key and the second path. */
async function openLog(config: string | undefined) {
  const { configPath } = await import('./serve.ts')
  const { loadConfig } = await import('../load-config.ts')
  const { openDatabase } = await import('../db/database.ts')
  const { rootKeyOf, secretRef } = await import('../keys.ts')
  const { signingKeys } = await import('../signing-keys.ts')
  const { originOf } = await import('../audit/sequencer.ts')
  const settings = loadConfig(configPath(config))
  const origin = originOf(settings.deployment)
  const root = rootKeyOf(settings.keys.control)
  const keys = signingKeys(root, 'checkpoints')
  const database = openDatabase({ url: secretRef(settings.database.control), max: 2, application: 'sallyport audit' })
  return { settings, origin, root, keys, database }
}

/** What the outside places of the configuration hold; those that cannot be read are named. */
async function lookOutside(settings: Config): Promise<{ points: OutsidePoint[]; silent: string[] }> {
  const { openPlaces } = await import('../evidence/places.ts')
  const points: OutsidePoint[] = []
  const silent: string[] = []
  for (const place of await openPlaces(settings, { reader: 'commands' })) {
    try {
      const there = await place.latest!(AbortSignal.timeout(60_000))
      if (there === null) silent.push(`${place.name} holds no checkpoint yet`)
      else points.push(there)
    } catch (error) {
      silent.push(`${place.name} could not be read: ${(error as Error).message}`)
    }
  }
  return { points, silent }
}

/** Checks the whole log and says in plain words what holds. @returns exit code 0 only when nothing is wrong. */
export async function verifyAudit(options: { config?: string; key?: string }): Promise<number> {
  const { verifyLog } = await import('../audit/verify.ts')
  const { vkey } = await import('../audit/note.ts')
  const { settings, origin, keys, database } = await openLog(options.config)
  try {
    const { points, silent } = await lookOutside(settings)
    const report = await verifyLog(database, {
      vkey: options.key ?? vkey(origin, keys.publicKey),
      copy: settings.audit.copy,
      outside: points,
    })
    say(`log ${origin}: ${report.size} entries, root ${report.root}`)
    if (report.erased > 0) say(`${report.erased} bodies were erased; their leaves stand`)
    for (const key of report.keys)
      say(
        key.until === null ? `it is signed by ${key.vkey}` : `up to ${key.until} entries it was signed by ${key.vkey}`,
      )
    for (const broken of report.breaks) {
      say(`a declared break at ${instant(broken.at_ms)}: from ${broken.abandoned} entries back to ${broken.resumed}`)
    }
    for (const { place, size } of report.outside)
      if (size !== null) say(`outside place ${place}: its checkpoint for ${size} entries fits`)
    for (const line of silent) say(`not compared: ${plain(line)}`)
    for (const flaw of report.flaws)
      say(`FLAW ${flaw.kind}${flaw.at === null ? '' : ` at entry ${flaw.at}`}: ${plain(flaw.message)}`)
    if (report.more > 0) say(`… and ${report.more} more`)
    say(
      report.ok
        ? `Every entry, every writer's chain and every checkpoint agrees, also with the copy at ${settings.audit.copy}.`
        : 'The log is NOT intact.',
    )
    return report.ok ? 0 : 1
  } finally {
    await database.close()
  }
}

/** The size that an operator names: a number, or a file with the checkpoint itself. */
async function sizeOf(given: string): Promise<number> {
  const { parseCheckpoint } = await import('../audit/note.ts')
  if (/^\d{1,15}$/.test(given)) return Number(given)
  const checkpoint =
    existsSync(given) && statSync(given).size <= maxNoteBytes ? parseCheckpoint(readFileSync(given, 'utf8')) : null
  if (checkpoint) return checkpoint.size
  throw new SallyportError('bad_request', `'${plain(given)}' is no size of a checkpoint, and no file with one`, {
    remedy: 'give the number on the second line of the checkpoint, or a file that holds it',
  })
}

/** Declares a restore from backup: signs a break that nobody can overlook. */
export async function resumeAudit(options: { config?: string; from: string; reason: string }): Promise<void> {
  const { resumeLog } = await import('../audit/resume.ts')
  const { CheckpointCopy } = await import('../audit/copy.ts')
  const { createAuditWriter } = await import('../audit/writer.ts')
  const { newId } = await import('../ids.ts')
  const from = await sizeOf(options.from)
  const { settings, origin, root, database } = await openLog(options.config)
  try {
    const { points } = await lookOutside(settings)
    const { key, trust } = await signingKey(database, origin, root, points)
    const { openCheckpoint } = await import('../audit/note.ts')
    const broken = await resumeLog({
      database,
      writer: createAuditWriter({ database, process_id: newId('prc') }),
      key,
      origin,
      copy: new CheckpointCopy(settings.audit.copy),
      outside: points.flatMap(point => openCheckpoint(point.note, trust) ?? []),
      from,
      reason: options.reason,
    })
    say(
      `The log goes on at ${broken.resumed.size} entries; ${broken.abandoned.size} had been signed. The break is signed and visible.`,
    )
  } finally {
    await database.close()
  }
}

/** The key that signs now, and the keys that lead to it. A restored database may not know the last handover: places do. */
async function signingKey(database: Database, origin: string, root: RootKey, points: readonly OutsidePoint[] = []) {
  const { vkey, parseVkey, vkeyText } = await import('../audit/note.ts')
  const { chainOf, lastKey } = await import('../audit/handover.ts')
  const { handoversOf, statements } = await import('../audit/statements.ts')
  const { checkpointKeyOf } = await import('../evidence/checkpoint-key.ts')
  const { checkpointKeys } = await import('../signing-keys.ts')
  const lines = [...(await statements(database.sql)), ...points.flatMap(point => point.statements)]
  const trust = chainOf(handoversOf(lines), parseVkey(vkey(origin, checkpointKeys(root, 1).publicKey)))
  const current = vkeyText(lastKey(trust))
  const key = checkpointKeyOf(root, origin, current)
  if (key === undefined)
    throw new SallyportError(
      'conflict',
      `the log is signed by ${current}, which does not derive from this root key file`,
      {
        remedy: 'run this where the root key file of control lies',
      },
    )
  return { key, trust, current }
}

/** Hands the log over to a new key. With `from` the root key file itself was replaced, and that is the old one. */
export async function rotateKey(options: { config?: string; from?: string; reason: string }): Promise<void> {
  const { rotateKey } = await import('../audit/rotate.ts')
  const { CheckpointCopy } = await import('../audit/copy.ts')
  const { createAuditWriter } = await import('../audit/writer.ts')
  const { vkey } = await import('../audit/note.ts')
  const { newId } = await import('../ids.ts')
  const { loadRootKey } = await import('../keys.ts')
  const { checkpointKeys, maxCheckpointKeys } = await import('../signing-keys.ts')
  const { settings, origin, root, database } = await openLog(options.config)
  try {
    const old = await signingKey(database, origin, options.from === undefined ? root : loadRootKey(options.from))
    let to = checkpointKeys(root, 1).privateKey
    const used = new Set(
      (await import('../audit/note.ts')).linksOf(old.trust).map(link => link.verifier.keyId.toString('hex')),
    )
    const idOf = (key: KeyObject) => vkey(origin, key).split('+').at(-2)!
    for (let number = 2; used.has(idOf(to)); number++) {
      if (number > maxCheckpointKeys)
        throw new SallyportError('conflict', `this root key file has given its ${maxCheckpointKeys} checkpoint keys`, {
          remedy: 'make a new root key file and name the old one with --from',
        })
      to = checkpointKeys(root, number).privateKey
    }
    const handover = await rotateKey({
      database,
      writer: createAuditWriter({ database, process_id: newId('prc') }),
      origin,
      from: old.key,
      to,
      copy: new CheckpointCopy(settings.audit.copy),
      reason: options.reason,
    })
    say(`From entry ${handover.at.size} on the log is signed by ${vkey(origin, to)}`)
    say(`before: ${old.current}`)
    say(
      'Both keys signed the handover; whoever trusts the old key is led to the new one. Tell the witnesses of this log its new key.',
    )
  } finally {
    await database.close()
  }
}

/** Fetches a proof that the log only grew, and writes it to a file. */
export async function consistency(
  client: Client,
  options: { from: string; to?: string; output?: string },
): Promise<void> {
  const query = new URLSearchParams({ from: String(await sizeOf(options.from)) })
  if (options.to !== undefined) query.set('to', String(await sizeOf(options.to)))
  const file = await client.get<{ from: { size: number }; to: { size: number } }>(`/api/audit/consistency?${query}`)
  const path = options.output ?? `log-${file.from.size}-${file.to.size}.proof.json`
  writeFileSync(path, JSON.stringify(file, null, 2) + '\n')
  say(
    `${path} shows that the log of ${file.from.size} entries is the beginning of the one of ${file.to.size}. Check it anywhere: sallyport verify ${path}`,
  )
}

/** Lists events, newest first. */
export async function listEvents(client: Client, filters: Record<string, string>): Promise<void> {
  const names: Record<string, string> = { session: 'session_id', subject: 'subject_id' }
  const query = new URLSearchParams(
    Object.entries(filters).map(([key, value]): [string, string] => [names[key] ?? key, value]),
  )
  const { items } = await client.get<{ items: EventAnswer[] }>(`/api/audit/events?${query}`)
  table(
    ['event', 'when', 'type', 'index', 'about'],
    items.map(e => [
      e.id,
      instant(e.at_ms),
      e.type,
      e.index === null ? 'waiting' : String(e.index),
      [e.session_id, e.resource, e.subject_id].filter(Boolean).join(' '),
    ]),
    'No events.',
  )
}

/** Fetches the proof of one event and writes it to a file. */
export async function prove(client: Client, id: string, options: { output?: string }): Promise<void> {
  const proof = await client.get<unknown>(`/api/audit/proof/${encodeURIComponent(id)}`)
  const path = options.output ?? `${id.replace(/[^\w]/g, '')}.proof.json`
  writeFileSync(path, JSON.stringify(proof, null, 2) + '\n')
  say(`${path} proves this event. Check it anywhere: sallyport verify ${path}`)
}

export interface VerifyCommand {
  readonly key?: string
  readonly witness?: string[]
  readonly recompute?: boolean
}

/** Checks a proof or a bundle with no network and no server. @returns exit code 0 only when it proves something. */
export async function verifyFile(path: string, options: VerifyCommand): Promise<number> {
  if (!existsSync(path)) {
    throw new SallyportError('not_found', `there is no file ${path}`, {
      remedy: 'give the file that `sallyport evidence` or `sallyport audit prove` wrote',
    })
  }
  const { isArchive, verifyBundleFile } = await import('./evidence.ts')
  if (isArchive(path)) return verifyBundleFile(path, options)
  const { verifyProof } = await import('../evidence/verify.ts')
  if (statSync(path).size > maxProofBytes) throw new SallyportError('bad_request', `${path} is too large for a proof`)
  let file: unknown
  try {
    file = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    throw new SallyportError('bad_request', `${path} is neither a bundle nor a proof`, {
      remedy: 'give the file that `sallyport evidence` or `sallyport audit prove` wrote',
    })
  }
  const { isConsistencyFile, verifyConsistencyFile } = await import('../evidence/verify-consistency.ts')
  const report = (isConsistencyFile(file) ? verifyConsistencyFile : verifyProof)(file, {
    vkey: options.key,
    witnesses: options.witness,
  })
  for (const line of report.proved) say(`proved: ${plain(line)}`)
  for (const line of report.not_proved) say(`not proved: ${plain(line)}`)
  for (const line of report.problems) say(`PROBLEM: ${plain(line)}`)
  return report.ok ? 0 : 1
}
