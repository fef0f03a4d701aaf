import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import { logger } from '../log.ts'

const log = logger('gateway')
const windowMs = 60_000
const mostFailures = 30
const mostEvents = 5
const mostAddresses = 20_000

interface Count {
  since: number
  failures: number
}

/**
 * Logins that failed before anybody was known, by address. Beyond a number a minute the address is not served; the audit
 * log gets the first few of each minute and then the sum, so that a stranger cannot fill it.
 */
export class Failures {
  readonly #database: Database
  readonly #audit: AuditWriter
  readonly #counts = new Map<string, Count>()

  constructor(database: Database, audit: AuditWriter) {
    this.#database = database
    this.#audit = audit
  }

  /** Whether an address may try now. */
  admits(address: string): boolean {
    const count = this.#counts.get(address)
    return count === undefined || count.failures < mostFailures || Date.now() - count.since > windowMs
  }

  add(protocol: string, address: string, reason: string, facts: Readonly<Record<string, string>>): void {
    const count = this.#countOf(address)
    count.failures++
    if (count.failures > mostEvents && count.failures !== mostFailures) return
    const body = { protocol, address, code: reason, failures: count.failures, ...bounded(facts) }
    this.#database.db
      .transaction(tx => this.#audit.record(tx, { type: 'ticket.refused', body }))
      .catch(error => log.error({ err: error, address }, 'a failed login could not be written to the audit log'))
  }

  #countOf(address: string): Count {
    const now = Date.now()
    let count = this.#counts.get(address)
    if (count === undefined || now - count.since > windowMs) {
      if (this.#counts.size >= mostAddresses) {
        for (const [old, of] of this.#counts) if (now - of.since > windowMs) this.#counts.delete(old)
        if (this.#counts.size >= mostAddresses) this.#counts.clear()
      }
      this.#counts.set(address, (count = { since: now, failures: 0 }))
    }
    return count
  }
}

function bounded(facts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(facts)
      .slice(0, 10)
      .map(([key, value]) => [key, value.toWellFormed().slice(0, 200)]),
  )
}
