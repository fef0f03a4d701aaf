import net from 'node:net'
import { SallyportError } from '../errors.ts'

/** A port that nothing listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
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
