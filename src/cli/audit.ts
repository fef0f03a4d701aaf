import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, plain, say, table } from './output.ts'

const maxProofBytes = 16 * 1024 * 1024

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
  const { loadConfig } = await import('../config.ts')
  const { openDatabase } = await import('../db/database.ts')
  const { rootKeyOf, secretRef } = await import('../keys.ts')
  const { signingKeys } = await import('../signing-keys.ts')
  const { originOf } = await import('../audit/sequencer.ts')
  const settings = loadConfig(configPath(config))
  const origin = originOf(settings.deployment)
  const keys = signingKeys(rootKeyOf(settings.keys.control), 'checkpoints')
  const database = openDatabase({ url: secretRef(settings.database.control), max: 2, application: 'sallyport audit' })
  return { settings, origin, keys, database }
}

/** Checks the whole log and says in plain words what holds. @returns exit code 0 only when nothing is wrong. */
export async function verifyAudit(options: { config?: string }): Promise<number> {
  const { verifyLog } = await import('../audit/verify.ts')
  const { vkey } = await import('../audit/note.ts')
  const { settings, origin, keys, database } = await openLog(options.config)
  try {
    const report = await verifyLog(database, vkey(origin, keys.publicKey), settings.audit.copy)
    say(`log ${origin}: ${report.size} entries, root ${report.root}`)
    if (report.erased > 0) say(`${report.erased} bodies were erased; their leaves stand`)
    for (const broken of report.breaks) {
      say(`a declared break at ${instant(broken.at_ms)}: from ${broken.abandoned} entries back to ${broken.resumed}`)
    }
    for (const flaw of report.flaws)
      say(`FLAW ${flaw.kind}${flaw.at === null ? '' : ` at entry ${flaw.at}`}: ${flaw.message}`)
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

/** Declares a restore from backup: signs a break that nobody can overlook. */
export async function resumeAudit(options: { config?: string; from: string; reason: string }): Promise<void> {
  const { resumeLog } = await import('../audit/resume.ts')
  const { CheckpointCopy } = await import('../audit/copy.ts')
  const { createAuditWriter } = await import('../audit/writer.ts')
  const { newId } = await import('../ids.ts')
  if (!/^\d{1,15}$/.test(options.from)) {
    throw new SallyportError('bad_request', `'${plain(options.from)}' is no size of a checkpoint`, {
      remedy: 'give the number on the second line of the checkpoint',
    })
  }
  const { settings, origin, keys, database } = await openLog(options.config)
  try {
    const broken = await resumeLog({
      database,
      writer: createAuditWriter({ database, process_id: newId('prc') }),
      key: keys.privateKey,
      origin,
      copy: new CheckpointCopy(settings.audit.copy),
      from: Number(options.from),
      reason: options.reason,
    })
    say(
      `The log goes on at ${broken.resumed.size} entries; ${broken.abandoned.size} had been signed. The break is signed and visible.`,
    )
  } finally {
    await database.close()
  }
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

/** Checks a proof with no network and no server. @returns exit code 0 only when it proves something. */
export async function verifyFile(path: string, options: { key?: string }): Promise<number> {
  const { verifyProof } = await import('../evidence/verify.ts')
  if (!existsSync(path)) {
    throw new SallyportError('not_found', `there is no file ${path}`, {
      remedy: 'give the file that `sallyport audit prove` wrote',
    })
  }
  if (statSync(path).size > maxProofBytes) throw new SallyportError('bad_request', `${path} is too large for a proof`)
  let file: unknown
  try {
    file = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    throw new SallyportError('bad_request', `${path} is no JSON`, {
      remedy: 'give the file that `sallyport audit prove` wrote',
    })
  }
  const report = verifyProof(file, { vkey: options.key })
  for (const line of report.proved) say(`proved: ${plain(line)}`)
  for (const line of report.not_proved) say(`not proved: ${plain(line)}`)
  for (const line of report.problems) say(`PROBLEM: ${plain(line)}`)
  return report.ok ? 0 : 1
}
