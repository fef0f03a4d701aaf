import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { C, frame, int16, int32 } from '../../../src/protocols/postgres/messages.ts'
import { startWireWorld, type WireWorld } from './wire-world.ts'

let world: WireWorld
beforeAll(async () => {
  world = await startWireWorld(`
    create table customers (id int primary key, ssn text not null);
    create table notes (id int);
  `)
})
afterAll(() => world?.close())
beforeEach(() => {
  world.journal.length = 0
  world.rules = []
})

const query = (sql: string) => frame(C.query, sql, 0)
const parse = (name: string, sql: string) => frame(C.parse, name, 0, sql, 0, int16(0))
const bind = (portal: string, name: string) => frame(C.bind, portal, 0, name, 0, int16(0), int16(0), int16(0))
const execute = (portal: string) => frame(C.execute, portal, 0, int32(0))
const sync = frame(C.sync)

test('a pipeline of any length without a Sync is answered', async () => {
  const client = await world.raw()
  const pair = Buffer.concat([bind('', ''), execute('')])
  client.send(parse('', 'select 1'), ...Array.from({ length: 12_000 }, () => pair), sync)
  const { letters } = await client.until()
  client.socket.destroy()
  expect(letters.length).toBe(1 + 3 * 12_000 + 1)
})

test('who does not read what was refused is not read any more', async () => {
  const client = await world.raw()
  client.messages.detach()
  const burst = Buffer.concat(Array.from({ length: 20_000 }, () => query('x')))
  let sent = 0
  const free = () => new Promise<boolean>(resolve => client.socket.write(burst, () => resolve(true)))
  const late = () => new Promise<boolean>(resolve => setTimeout(() => resolve(false), 1500))
  while (sent < 400 && (await Promise.race([free(), late()]))) sent++
  client.socket.destroy()
  expect(sent).toBeLessThan(200) // what the buffers of the two kernels hold, not 400 times 20,000 refusals
})

test('texts of prepared statements are bounded together', async () => {
  const client = await world.raw()
  const long = `select 1 -- ${'x'.repeat(1_000_000)}`
  let refused = false
  for (let i = 0; i < 100 && !refused; i++) {
    client.send(parse(`s${i}`, long), sync)
    refused = (await client.until()).letters === 'EZ'
  }
  client.send(parse('small', 'select 1'), sync)
  expect((await client.until()).letters).toBe('1Z')
  client.socket.destroy()
  expect(refused).toBe(true)
})

test('two COPY from the client in one message are refused, and nothing of them runs', async () => {
  const client = await world.raw()
  client.send(query('copy notes from stdin; copy notes from stdin'))
  expect((await client.until()).letters).toBe('EZ')
  client.socket.destroy()
})

test.each([
  ['MK10: of a notification only the channel passes where masks are in force', true, ''],
  ['a notification passes where nothing is masked, and is in the journal', false, '111-22-3333'],
])('%s', async (_title, masked, payload) => {
  const match = { schema: 'public', table: 'customers', column: 'ssn' }
  world.rules = masked ? [{ rule: 'masking.ssn', match, transform: { kind: 'redact' } }] : []
  const client = await world.raw()
  client.send(query('listen customers'))
  await client.until()
  await world.admin(`notify customers, '111-22-3333'`)
  client.send(query('select 1'))
  const { letters, bodies } = await client.until()
  client.socket.destroy()
  expect(letters).toContain('A')
  expect(Buffer.concat(bodies).includes('111-22-3333')).toBe(!masked)
  expect(world.journal.find(e => e.kind === 'notification')!.body).toEqual({ channel: 'customers', payload })
})
