import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { makeTicketFolder, sweepTickets } from '../../src/cli/ticket-folders.ts'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'sallyport-tickets-'))
  vi.stubEnv('XDG_CONFIG_HOME', home)
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(home, { recursive: true, force: true })
})

const ada = { origin: 'https://sallyport.test', profile: 'default' }
const id = (n: number) => `tkt_${String(n).padStart(26, '0')}`
const age = (folder: string, days: number) => {
  const then = new Date(Date.now() - days * 24 * 3600 * 1000)
  utimesSync(folder, then, then)
}

describe('what `connect --print` and killed clients leave', () => {
  test('goes when the ticket opens nothing more, and stays while it does', async () => {
    const [open, ended] = [makeTicketFolder(ada, id(1)), makeTicketFolder(ada, id(2))]
    expect(statSync(open).mode & 0o777).toBe(0o700)
    await sweepTickets(ada, async ticket => ticket === id(1))
    expect([existsSync(open), existsSync(ended)]).toEqual([true, false])
  })

  test('stays while nobody can say, and is never asked about by another sign-in; after a week it goes', async () => {
    const unsure = makeTicketFolder(ada, id(1))
    const others = [
      makeTicketFolder({ ...ada, profile: 'work' }, id(2)),
      makeTicketFolder({ ...ada, origin: 'https://other.test' }, id(3)),
    ]
    const old = makeTicketFolder({ ...ada, profile: 'gone' }, id(4))
    age(old, 8)
    const asked: string[] = []
    await sweepTickets(ada, async ticket => {
      asked.push(ticket)
      throw new Error('control is away')
    })
    expect(asked).toEqual([id(1)])
    expect([unsure, ...others, old].map(folder => existsSync(folder))).toEqual([true, true, true, false])
  })

  test('of an older version goes after a week, and nothing else in the folder is touched', async () => {
    const place = join(home, 'sallyport/tickets')
    for (const name of ['ticket-new', 'ticket-old', 'mine']) mkdirSync(join(place, name), { recursive: true })
    age(join(place, 'ticket-old'), 8)
    age(join(place, 'mine'), 8)
    await sweepTickets(ada, async () => false)
    expect(readdirSync(place).sort()).toEqual(['mine', 'ticket-new'])
  })

  test('is asked about a few at a time, the oldest first', async () => {
    const folders = Array.from({ length: 20 }, (_, i) => makeTicketFolder(ada, id(i)))
    for (const [i, folder] of folders.entries()) age(folder, 20 - i)
    const asked: string[] = []
    await sweepTickets(ada, async ticket => asked.push(ticket) > 0)
    expect(asked).toEqual(Array.from({ length: 16 }, (_, i) => id(i)))
  })
})
