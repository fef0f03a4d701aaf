import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import type { IssuedTicket } from '../../../src/gateway/protocol.ts'
import { client } from '../../../src/protocols/postgres/client.ts'
import { Secret } from '../../../src/secret.ts'

const ticket = {
  id: 'tkt_1',
  secret: new Secret('s3cret'),
  host: '127.0.0.1',
  port: 1,
  ca_file: '/nonexistent/ca.pem',
  resource: { name: 'shop-db', options: { database: 'shop' } },
} as unknown as IssuedTicket

test.each([[['-f', 'file.sql']], [['-c']], [['-c', 'select 1', '--csv']]])(
  'without psql, %j is refused in one line and nothing is dialled',
  async args => {
    const output = new PassThrough()
    expect(await client(ticket, args).fallback!(new PassThrough(), output)).toBe(2)
    expect(String(output.read())).toMatch(/^psql is not installed, and the built-in prompt knows only -c SQL: .*\n$/)
  },
)
