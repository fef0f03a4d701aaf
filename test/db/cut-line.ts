import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { Secret } from '../../src/secret.ts'
import type { TestDatabase } from '../support/database.ts'

/** A line to the database that can be cut, and laid again on the same port. */
export async function cuttable(to: Secret): Promise<{ url: Secret; cut(): void; close(): void }> {
  const real = new URL(to.reveal())
  const sockets = new Set<Socket>()
  const line = createServer(client => {
    const server = connect(Number(real.port), real.hostname)
    for (const socket of [client, server])
      sockets.add(socket.on('error', () => {}).on('close', () => sockets.delete(socket)))
    client.pipe(server).pipe(client)
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const)
      one.on('close', () => other.destroy())
  })
  await new Promise<void>(resolve => line.listen(0, '127.0.0.1', resolve))
  const { port } = line.address() as AddressInfo
  const url = new Secret(Object.assign(new URL(real), { port: String(port) }).href)
  let odd = false
  const cut = () => {
    odd = !odd // both ways in which a connection ends: in order, and by a reset
    for (const socket of sockets) odd ? socket.destroy() : socket.resetAndDestroy()
  }
  return { url, cut, close: () => void line.close() }
}

/** As many backends at once as the pool has places: none of them is stuck. */
export async function places(database: Database, count: number): Promise<number> {
  const asked = Array.from({ length: count }, async () => {
    const [row] = await database.sql<{ pid: number }[]>`select pg_backend_pid() as pid, pg_sleep(0.3)`
    return row!.pid
  })
  return new Set(await Promise.all(asked)).size
}

export async function busy(database: Database, n: number): Promise<void> {
  await database.db.transaction(async tx => {
    await tx.execute(sql`select ${n}::int`)
    await sleep(n % 3)
    await tx.execute(sql`insert into work select ${n}::int from generate_series(1, 200)`)
    await tx.execute(sql`select pg_sleep(0.002)`)
  })
}

/** What nobody could catch, while `run` ran and a little longer. */
export async function uncaught(run: () => Promise<void>): Promise<unknown[]> {
  const seen: unknown[] = []
  const before = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const see = (error: unknown) => void seen.push(error)
  process.on('uncaughtException', see)
  try {
    await run()
    await sleep(50)
  } finally {
    process.off('uncaughtException', see)
    for (const listener of before) process.on('uncaughtException', listener)
  }
  return seen
}

/**
 * In each round the line is cut under three transactions for each place of the pool, a little later than in the round before;
 * every tenth, all places must serve. @returns what nobody could catch, and how many places served each time.
 */
export async function cutAtAnyMoment(
  test: TestDatabase,
  rounds: number,
): Promise<{ seen: unknown[]; served: number[] }> {
  const line = await cuttable(test.url)
  const database = openDatabase({ url: line.url, max: 3, application: 'outage' })
  const served: number[] = []
  try {
    await database.sql`create table work (n int)`
    const seen = await uncaught(async () => {
      for (let round = 0; round < rounds; round++) {
        const answers = Promise.allSettled(Array.from({ length: 9 }, (_, n) => busy(database, n)))
        await sleep(round % 20)
        if (round % 2 === 0) await new Promise(setImmediate)
        line.cut()
        await answers
        if (round % 10 === 9) served.push(await places(database, 3))
      }
    })
    return { seen, served }
  } finally {
    await database.close()
    line.close()
  }
}
