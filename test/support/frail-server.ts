import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'

export type Frailty = 'none' | '503' | 'silent' | 'half a body' | 'slow' | 'cut'

/** Stands before an HTTP server and fails in the ways that servers do. */
export async function startFrailServer(target: string) {
  let frailty: Frailty = 'none'
  let times = Number.POSITIVE_INFINITY
  let seen = 0
  const server = createServer((incoming, outgoing) => {
    seen++
    const now = times-- > 0 ? frailty : 'none'
    outgoing.on('error', () => {})
    if (now === '503') return void outgoing.writeHead(503, { 'content-length': 0 }).end()
    if (now === 'silent') return void incoming.resume()
    if (now === 'cut') return void incoming.socket.destroy()
    pass(incoming, outgoing, now)
  })
  function pass(incoming: IncomingMessage, outgoing: ServerResponse, now: Frailty): void {
    const { method, url, headers } = incoming
    const onward = request(target + url, { method, headers }, answer => {
      outgoing.writeHead(answer.statusCode!, answer.headers)
      outgoing.flushHeaders()
      if (now === 'none') return void answer.pipe(outgoing)
      const chunks: Buffer[] = []
      answer.on('data', chunk => chunks.push(chunk as Buffer))
      answer.on('end', () => {
        const body = Buffer.concat(chunks)
        if (body.length === 0) return void outgoing.end()
        outgoing.write(body.subarray(0, body.length >> 1))
        if (now === 'half a body') setTimeout(() => outgoing.destroy(), 20)
        // 'slow': the rest never comes, and the connection stays
      })
    })
    onward.on('error', () => outgoing.destroy())
    incoming.pipe(onward)
  }
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}`,
    host: new URL(target).host,
    get seen() {
      return seen
    },
    fail(how: Frailty, howOften = Number.POSITIVE_INFINITY) {
      frailty = how
      times = howOften
      seen = 0
    },
    stop() {
      server.closeAllConnections()
      server.close()
    },
  }
}
