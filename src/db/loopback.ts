import { randomInt } from 'node:crypto'
import net from 'node:net'
import { SallyportError } from '../errors.ts'

/** Below those that systems give to connections: one of these could take a port between its choice and its use. */
const [lowest, highest] = [10_000, 32_000]
const mostTries = 100

/** A port that nothing listens on at this moment. */
export async function freePort(): Promise<number> {
  for (let tries = 1; ; tries++) {
    const port = randomInt(lowest, highest)
    try {
      await requireFreePort(port, 'a part of the system')
      return port
    } catch (error) {
      if (tries === mostTries) throw error
    }
  }
}

/** @throws SallyportError `conflict` when something listens on this loopback port. */
export async function requireFreePort(port: number, what: string): Promise<void> {
  const server = net.createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' && error.code !== 'EACCES') return reject(error)
      const why = error.code === 'EACCES' ? 'may not be used by this user' : 'is taken by another program'
      reject(
        new SallyportError('conflict', `port ${port} on 127.0.0.1, which ${what} needs, ${why}`, {
          remedy: 'stop that program, or choose another port',
          facts: { port },
        }),
      )
    })
    server.listen(port, '127.0.0.1', resolve)
  })
  await new Promise(resolve => server.close(resolve))
}
