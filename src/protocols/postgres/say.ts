import type { Socket } from 'node:net'

/** Last words: sent, then the stream is closed. */
export function say(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise(resolve => {
    if (socket.destroyed) return resolve()
    const timer = setTimeout(resolve, 500)
    socket.once('close', () => resolve())
    socket.end(bytes, () => {
      clearTimeout(timer)
      setTimeout(resolve, 20)
    })
  })
}
