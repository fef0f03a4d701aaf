// Run by embedded.test.ts: starts a server in the folder given, says where, and waits to be killed.
import { startEmbedded } from '../../src/db/embedded.ts'

const server = await startEmbedded({
  name: 'the embedded database',
  dataDir: process.argv[2]!,
  port: 0,
  superuser: 'owner',
  durable: false,
})
console.log(JSON.stringify({ wrapper: server.pid, port: server.port }))
setInterval(() => {}, 1_000)
