import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type EmbeddedServer, startEmbedded } from '../../../src/db/embedded.ts'
import { C, frame, int16, int32, S } from '../../../src/protocols/postgres/messages.ts'
import { startWireWorld, type WireWorld } from './wire-world.ts'

/** A real PostgreSQL behind a relay that, at a word in a statement, answers in its place as a broken one would. */
const folder = mkdtempSync(join(tmpdir(), 'sallyport-broken-'))
let server: EmbeddedServer
let front: Server
let world: WireWorld
const answers = new Map<string, (socket: Socket) => void>()

beforeAll(async () => {
  server = await startEmbedded({ name: 'the target', dataDir: folder, port: 0, superuser: 'boss', durable: false })
  front = createServer({ noDelay: true }, near => {
    const far = connect({ host: '127.0.0.1', port: server.port, noDelay: true })
    for (const socket of [near, far]) socket.on('error', () => {})
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
    far.pipe(near)
    near.on('data', chunk => {
      const word = [...answers.keys()].find(each => chunk.includes(each))
      if (word === undefined) far.write(chunk)
      else answers.get(word)!(near)
    })
  })
  await new Promise<void>(resolve => front.listen(0, '127.0.0.1', resolve))
  const { port } = front.address() as { port: number }
  world = await startWireWorld('create table notes (id int)', {
    port,
    superuser: server.superuser,
    url: name => server.url(name),
    stop: () => server.stop(),
  })
})
afterAll(async () => {
  await world?.close()
  front?.close()
  rmSync(folder, { recursive: true, force: true })
})
beforeEach(() => {
  answers.clear()
  world.journal.length = 0
})

const query = (sql: string) => frame(C.query, sql, 0)
const ready = frame(S.readyForQuery, Buffer.from('I'))
const text = (name: string) =>
  frame(S.rowDescription, int16(1), name, 0, int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0))
/** The beginning of a DataRow with one value of so many bytes, of which only `sent` are there. */
const rowPart = (bytes: number, sent: number) =>
  Buffer.concat([Buffer.from('D'), int32(4 + 2 + 4 + bytes), int16(1), int32(bytes), Buffer.alloc(sent, 'x')])
/** What a client reads until its connection ends, whole frames first. */
async function rest(client: Awaited<ReturnType<WireWorld['raw']>>) {
  const letters: string[] = []
  const bodies: string[] = []
  for (;;) {
    const message = await client.messages.next().catch(() => undefined)
    if (message === undefined) return { letters: letters.join(''), text: bodies.join('') }
    letters.push(String.fromCharCode(message.type))
    bodies.push(message.raw.toString('latin1'))
  }
}

describe('PG10: a target that answers as none should', () => {
  test('an ErrorResponse without SQLSTATE reaches the client with one, and the connection goes on', async () => {
    answers.set('no_sqlstate', socket =>
      socket.write(Buffer.concat([frame(S.error, 'SERROR', 0, 'Mthe disk is tired', 0, 0), ready])),
    )
    const client = await world.client()
    const failure = await client.query('select 1 as no_sqlstate').catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'XX000', message: 'the disk is tired', severity: 'ERROR' })
    expect((await client.query('select 2 as two')).rows).toEqual([{ two: 2 }])
    expect(world.journal.find(e => e.kind === 'error')?.body).toMatchObject({ message: 'the disk is tired' })
    await client.end()
  })

  test('an ErrorResponse of nothing at all reaches the client as one that it can read', async () => {
    answers.set('empty_error', socket => socket.write(Buffer.concat([frame(S.error, 0), ready])))
    const client = await world.client()
    expect(await client.query('select 1 as empty_error').catch((error: unknown) => error)).toMatchObject({
      code: 'XX000',
    })
    expect((await client.query('select 2 as two')).rows).toEqual([{ two: 2 }])
    await client.end()
  })

  const closings: [string, Buffer, 'head' | 'none', boolean][] = [
    ['in the midst of a row that is recorded', rowPart(100, 10), 'head', true],
    ['between two rows', frame(S.dataRow, int16(1), int32(1), Buffer.from('x')), 'none', true],
    ['in the midst of the header of a row', Buffer.from([0x44, 0, 0]), 'none', true],
    ['in the midst of a row that is passed on by pieces', rowPart(4_000_000, 2_000_000), 'none', false],
  ]
  test.each(closings)('one that closes %s ends that connection alone', async (_title, last, results, clean) => {
    world.settings = { ...world.settings, results }
    answers.set('closes_now', socket => socket.end(Buffer.concat([text('closes_now'), last])))
    const other = await world.client()
    await other.query('begin')
    const client = await world.raw()
    client.send(query("select 'x' as closes_now"))
    const { letters, text: told } = await rest(client)
    if (clean) {
      expect(letters).toMatch(/^TD?E$/)
      expect(told).toContain('08006')
      expect(told).toContain('the target closed the connection')
    } else expect(letters).toBe('T') // a message in the midst of a row would be read as part of the row
    expect(client.socket.destroyed || client.socket.readableEnded).toBe(true)
    expect((await other.query('select 2 as two')).rows).toEqual([{ two: 2 }])
    await other.query('rollback')
    await other.end()
    const next = await world.client()
    expect((await next.query('select 3 as three')).rows).toEqual([{ three: 3 }])
    await next.end()
    await expect.poll(() => world.journal.filter(e => e.kind === 'closed').length).toBe(3)
    expect(world.journal.filter(e => e.kind === 'closed').map(e => e.body['reason'])).toContain(
      'the target closed the connection',
    )
  })
})
