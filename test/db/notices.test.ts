import { type AddressInfo, connect, createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { Notices, notify } from '../../src/db/notices.ts'
import { Secret } from '../../src/secret.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const patience_ms = 20_000

let world: TestDatabase
let notices: Notices
beforeAll(async () => {
  world = await createTestDatabase()
  notices = new Notices({ url: world.roleUrls.gateway, application: 'test notices' })
  await notices.start()
})
afterAll(async () => {
  await notices.close()
  await world.drop()
})

const killListener = () =>
  world.database
    .sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test notices' and datname = current_database()`

describe('notices', () => {
  test('a notice arrives with the commit, and not when the transaction rolls back', async () => {
    const heard: (string | null)[] = []
    using _ = notices.listen('test_commit', payload => void heard.push(payload))
    await world.database.db
      .transaction(async tx => {
        await notify(tx, 'test_commit', 'rolled back')
        tx.rollback()
      })
      .catch(() => {})
    await world.database.db.transaction(tx => notify(tx, 'test_commit', 'committed'))
    await vi.waitFor(() => expect(heard).toContain('committed'), patience_ms)
    expect(heard).not.toContain('rolled back')
  })

  test('without any notice a subscriber is polled, again and again', async () => {
    let polls = 0
    using _ = notices.listen('test_poll', payload => void (payload === null && polls++))
    await vi.waitFor(() => expect(polls).toBe(1), patience_ms)
    await vi.waitFor(() => expect(polls).toBeGreaterThan(2), patience_ms)
  })

  test('a killed connection is replaced, and subscribers are polled for what they missed', async () => {
    const heard: (string | null)[] = []
    using _ = notices.listen('test_lost', payload => void heard.push(payload))
    await killListener()
    await vi.waitFor(
      async () => {
        await world.database.db.transaction(tx => notify(tx, 'test_lost', 'after'))
        expect(heard).toContain('after')
      },
      { timeout: patience_ms, interval: 200 },
    )
    expect(heard.filter(p => p === null).length).toBeGreaterThan(1)
  })

  test('silence grows while the network swallows everything, and ends when it is back', async () => {
    let swallow = false
    const target = new URL(world.url.reveal())
    const proxy = createServer(client => {
      const server = connect(Number(target.port), target.hostname)
      for (const [from, to] of [
        [client, server],
        [server, client],
      ] as const) {
        from.on('data', chunk => swallow || to.write(chunk))
        from.on('close', () => to.destroy()).on('error', () => {})
      }
    })
    await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
    const url = Object.assign(new URL(world.roleUrls.gateway.reveal()), {
      port: String((proxy.address() as AddressInfo).port),
    })
    await using far = new Notices({ url: new Secret(url.href), application: 'test far' })
    await far.start()
    try {
      swallow = true
      await vi.waitFor(() => expect(far.silentMs).toBeGreaterThan(2_000), patience_ms)
      expect(Date.now() - far.lastHeardAt).toBeGreaterThan(1_990)
      swallow = false
      await vi.waitFor(() => expect(far.silentMs).toBeLessThan(1_500), patience_ms)
    } finally {
      proxy.close()
    }
  })

  test('calls of one subscriber keep their order and never overlap, also when one throws', async () => {
    const heard: string[] = []
    let inside = 0
    using _ = notices.listen('test_order', async payload => {
      if (payload === null) return
      expect(++inside).toBe(1)
      await new Promise(resolve => setTimeout(resolve, 5))
      inside--
      heard.push(payload)
      if (payload === '3') throw new Error('a subscriber that fails')
    })
    await world.database.db.transaction(async tx => {
      for (let i = 0; i < 10; i++) await notify(tx, 'test_order', String(i))
    })
    await vi.waitFor(() => expect(heard).toEqual([...'0123456789']), patience_ms)
  })

  test('a channel name that could carry SQL is refused', () => {
    expect(() => notices.listen('x; drop table grants', () => {})).toThrow(TypeError)
  })
})
