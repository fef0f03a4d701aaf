import { describe, expect, test } from 'vitest'
import { Failures } from '../../src/gateway/failures.ts'

const events: unknown[] = []
const quiet = () => {
  events.length = 0
  const database = { db: { transaction: async (run: (tx: unknown) => unknown) => run({}) } }
  return new Failures(
    database as never,
    { record: async (_tx: unknown, event: unknown) => void events.push(event) } as never,
  )
}
const fail = (failures: Failures, address: string, times: number, ticket_id?: string) => {
  for (let i = 0; i < times; i++)
    failures.add('postgres', address, 'secret', { ticket_id: ticket_id ?? `tkt_guess${i}` })
}

describe('failed logins', () => {
  test('close their address for a while, and no other one', () => {
    const failures = quiet()
    fail(failures, '10.0.0.1', 29)
    expect(failures.admits('10.0.0.1')).toBe(true)
    fail(failures, '10.0.0.1', 1)
    expect([failures.admits('10.0.0.1'), failures.admits('10.0.0.2')]).toEqual([false, true])
    expect(events.length).toBeLessThan(7)
  })

  test('a stranger behind an address does not lock out those who proved a ticket from it', () => {
    const failures = quiet()
    failures.proved('10.0.0.1', 'tkt_colleague')
    fail(failures, '10.0.0.1', 500)
    fail(failures, '10.0.0.1', 500, 'tkt_colleague')
    expect(failures.admits('10.0.0.1')).toBe(true)
    expect(failures.admitsTicket('10.0.0.1', 'tkt_colleague')).toBe(true)
  })

  test('there, a ticket that is guessed at is not looked up from that address any more', () => {
    const failures = quiet()
    failures.proved('10.0.0.1', 'tkt_colleague')
    fail(failures, '10.0.0.1', 30, 'tkt_victim')
    expect(failures.admitsTicket('10.0.0.1', 'tkt_victim')).toBe(false)
    expect(failures.admitsTicket('10.0.0.9', 'tkt_victim')).toBe(true)
    expect(failures.admitsTicket('10.0.0.1', 'tkt_other')).toBe(true)
  })

  test('ids that are made up push out no address', () => {
    const failures = quiet()
    fail(failures, '10.0.0.1', 30)
    fail(failures, '10.0.0.2', 25_000)
    expect(failures.admits('10.0.0.1')).toBe(false)
  })
})
