import { spawn } from 'node:child_process'
import type { ConformanceKit } from '../conformance.ts'

/** PostgreSQL by psql, and by a driver where a connection has to stay open. */
export const postgresKit: ConformanceKit = {
  edits: [
    ['action/production.rego', 'places.production', 'not places.development'],
    ['action/production.rego', '== "truncate"', '== "explain"'],
  ],
  resource: 'shop-db',
  role: 'reader',
  recorded: ['connected', 'statement', 'result', 'disconnected'],
  run: (world, port, issued, action) =>
    new Promise(resolve => {
      const child = spawn('psql', ['-X', '-A', '-t', '-c', action], {
        env: {
          PATH: process.env['PATH'] ?? '',
          PGHOST: '127.0.0.1',
          PGPORT: String(port),
          PGUSER: issued.id,
          PGPASSWORD: issued.secret.reveal(),
          PGDATABASE: 'shop',
          PGSSLMODE: 'verify-full',
          PGSSLROOTCERT: world.caFile,
        },
      })
      let text = ''
      child.stdout.on('data', chunk => (text += chunk))
      child.stderr.on('data', chunk => (text += chunk))
      child.on('close', () => resolve(text))
    }),
  open: async (world, port, issued) => {
    const client = await world.connect(port, issued)
    const ended = new Promise<string>(resolve => client.once('error', error => resolve(error.message)))
    return { act: async action => JSON.stringify((await client.query(action)).rows), ended }
  },
  allowed: { action: 'select name from customers where id = 1', answers: 'Ada' },
  denied: {
    action: 'delete from orders where id = 1',
    happened: async world => (await world.admin('select 1 from orders where id = 1')).rowCount === 0,
  },
  held: { action: 'explain select 1', answers: 'Result' },
  notUnderstood: 'selekt 1',
  hostile: [
    Buffer.alloc(0),
    Buffer.alloc(3, 255),
    Buffer.alloc(5000, 255),
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    Buffer.from('0000000804d2162f51000000', 'hex'), // SSLRequest with bytes stuffed behind
    Buffer.from('0000000804d2162f160301ffffff', 'hex'),
    Buffer.from('0000001004d2162e0000000000000000', 'hex'), // a cancel for a guessed key
    Buffer.from('000000080003000000', 'hex'),
    Buffer.from('7fffffff00030000', 'hex'),
    Buffer.from('8000000000030000', 'hex'),
  ],
}
