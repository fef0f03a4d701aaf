import { connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { freePort } from '../../src/db/loopback.ts'
import { Secret } from '../../src/secret.ts'
import { createTestDatabase } from '../support/database.ts'

const closers: (() => Promise<unknown> | unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

test('FA1: a pool that failed more often than it has places works again once the database is back', async () => {
  const test = await createTestDatabase()
  const real = new URL(test.url.reveal())
  const port = await freePort()
  const url = new Secret(Object.assign(new URL(real), { port: String(port) }).href)
  const database = openDatabase({ url, max: 2, application: 'outage' })
  closers.push(test.drop, () => database.close())
  for (let round = 0; round < 4; round++) {
    const answers = await Promise.allSettled([1, 2, 3].map(() => database.sql`select 1`))
    for (const answer of answers) expect(answer.status).toBe('rejected')
  }
  const sockets: Socket[] = []
  const line: Server = createServer(client => {
    const server = connect(Number(real.port), real.hostname)
    for (const socket of [client, server]) sockets.push(socket.on('error', () => {}))
    client.pipe(server).pipe(client)
  })
  await new Promise<void>(resolve => line.listen(port, '127.0.0.1', resolve))
  closers.push(() => line.close())
  const work = () => Promise.all([1, 2, 3, 4, 5].map(n => database.sql`select ${n}::int as n`))
  expect((await work()).flat().map(row => row['n'])).toEqual([1, 2, 3, 4, 5])
  for (const socket of sockets) socket.destroy() // it goes away under open connections
  await Promise.allSettled([database.sql`select 1`, database.sql`select 1`])
  expect((await work()).length).toBe(5)
})
