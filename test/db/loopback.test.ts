import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { freePort } from '../../src/db/loopback.ts'

test('a free port is none that the system may give to a connection meanwhile', async () => {
  const range = '/proc/sys/net/ipv4/ip_local_port_range'
  const [least] = (existsSync(range) ? readFileSync(range, 'latin1') : '32768').split(/\s+/).map(Number)
  const ports = await Promise.all(Array.from({ length: 50 }, freePort))
  for (const port of ports) expect(port).toBeLessThan(least!)
  const server = createServer().listen(ports[0], '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  server.close()
})
