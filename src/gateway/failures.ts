import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import { logger } from '../log.ts'

const log = logger('gateway')
const windowMs = 60_000
const mostFailures = 30
const mostEvents = 5
const mostAddresses = 20_000
/** How long the proof of one ticket speaks for its address. */
const provedMs = 3_600_000

interface Count {
  since: number
  failures: number
}

/**
 * Logins that failed before anybody was known, by address and by ticket. Beyond a number a minute an address is not
 * served, unless a ticket was proved from it within the hour: behind one address there may be many people, and a stranger
 * among them must not lock the others out. There, only the ticket that is guessed at is not looked up from that address.
 * The audit log gets the first few of each minute and then the sum, so that a stranger cannot fill it.
 */
export class Failures {
  readonly #database: Database
  readonly #audit: AuditWriter
  readonly #counts = new Map<string, Count>()
  /** By address and ticket: however many ids are made up, they push out no address. */
  readonly #byTicket = new Map<string, Count>()
  readonly #proved = new Map<string, number>()

  constructor(database: Database, audit: AuditWriter) {
    this.#database = database
    this.#audit = audit
  }

  /** Whether an address may try now. */
  admits(address: string): boolean {
    return isBelow(this.#counts.get(address)) || this.#isProved(address)
  }

  /** Whether this ticket may be tried from there now. */
  admitsTicket(address: string, ticket_id: string): boolean {
    const key = keyOf(address, ticket_id)
    return isBelow(this.#byTicket.get(key)) || this.#isProved(key)
  }

  proved(address: string, ticket_id: string): void {
    if (this.#proved.size >= mostAddresses) this.#proved.clear()
    this.#proved.set(address, Date.now())
    this.#proved.set(keyOf(address, ticket_id), Date.now())
  }

  #isProved(key: string): boolean {
    return Date.now() - (this.#proved.get(key) ?? Number.NEGATIVE_INFINITY) < provedMs
  }

  add(protocol: string, address: string, reason: string, facts: Readonly<Record<string, string>>): void {
    const count = countIn(this.#counts, address)
    count.failures++
    const { ticket_id } = facts
    if (ticket_id !== undefined) countIn(this.#byTicket, keyOf(address, ticket_id)).failures++
    if (count.failures > mostEvents && count.failures !== mostFailures) return
    const body = { protocol, address, code: reason, failures: count.failures, ...bounded(facts) }
    this.#database.db
      .transaction(tx => this.#audit.record(tx, { type: 'ticket.refused', body }))
      .catch(error => log.error({ err: error, address }, 'a failed login could not be written to the audit log'))
  }
}

const isBelow = (count: Count | undefined): boolean =>
  count === undefined || count.failures < mostFailures || Date.now() - count.since > windowMs

function countIn(counts: Map<string, Count>, key: string): Count {
  const now = Date.now()
  let count = counts.get(key)
  if (count === undefined || now - count.since > windowMs) {
    if (counts.size >= mostAddresses) {
      for (const [old, of] of counts) if (now - of.since > windowMs) counts.delete(old)
      if (counts.size >= mostAddresses) counts.clear()
    }
    counts.set(key, (count = { since: now, failures: 0 }))
  }
  return count
}

const keyOf = (address: string, ticket_id: string): string => `${address}\0${ticket_id.slice(0, 64)}`

function bounded(facts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(facts)
      .slice(0, 10)
      .map(([key, value]) => [key, value.toWellFormed().slice(0, 200)]),
  )
}
