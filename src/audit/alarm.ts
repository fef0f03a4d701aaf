import type { Database } from '../db/database.ts'
import { logger } from '../log.ts'
import type { AuditWriter } from './events.ts'

const log = logger('audit')
const lookMs = 1_000
const againMs = 10_000

interface Raising {
  readonly database: Database
  readonly audit: AuditWriter
  readonly row: { readonly id: string }
}

/**
 * Somebody must look: a line in the log and an event. `reason` null: what was wrong is mended.
 * @returns whether the event is in the audit log.
 */
export async function raiseAlarm(
  { database, audit, row }: Raising,
  what: string,
  reason: string | null,
): Promise<boolean> {
  if (reason === null) log.info({ what }, 'mended')
  else log.error({ what, reason }, 'alarm')
  const body = { what, reason, mended: reason === null, process_id: row.id }
  try {
    await database.db.transaction(tx => audit.record(tx, { type: 'alert.raised', body }))
    return true
  } catch (error) {
    log.error({ what, err: error }, 'the alarm is not in the audit log')
    return false
  }
}

/** Looks every second whether something is wrong, and tells once that it is and once that it is mended. */
export function watchAlarm(
  what: string,
  reasonOf: () => string | null,
  raise: (what: string, reason: string | null) => Promise<boolean>,
): Disposable {
  let told = false
  let next_ms = 0
  const look = async () => {
    const reason = reasonOf()
    if ((reason !== null) === told || Date.now() < next_ms) return
    next_ms = Date.now() + againMs // for who could not be told; nobody is told twice at once either
    if (await raise(what, reason)) {
      told = !told
      next_ms = 0
    }
  }
  const timer = setInterval(() => void look(), lookMs)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}
