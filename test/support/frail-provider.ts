import { request as ask, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * Stands in front of a real identity provider and fails as networks and load balancers do, at its token endpoint:
 * `lost`: it works, and its answer never arrives · `hang`: the same, and the line stays open · `broken`: a 503 ·
 * `half`: the token endpoint answers, user info does not.
 */
export type Frailty = 'none' | 'lost' | 'hang' | 'broken' | 'half'

export interface FrailProvider {
  readonly issuer: string
  /** Where the identity provider really listens. */
  behind: string
  frailty: Frailty
  /** Calls of the token endpoint that reached the identity provider. */
  readonly asked: number
  stop(): Promise<void>
}

export async function frailProvider(): Promise<FrailProvider> {
  let asked = 0
  const state: { behind: string; frailty: Frailty } = { behind: '', frailty: 'none' }
  const server = createServer((incoming, outgoing) => {
    const path = new URL(incoming.url ?? '/', 'http://x').pathname
    const frail = path === '/token' ? state.frailty : 'none'
    if (frail === 'broken') return void outgoing.writeHead(503, { 'content-type': 'text/html' }).end('<h1>busy</h1>')
    if (path === '/me' && state.frailty === 'half') return void outgoing.destroy()
    if (path === '/token') asked++
    const target = new URL(incoming.url ?? '/', state.behind)
    const { method, headers } = incoming
    const onward = ask(target, { method: method!, headers }, answer => {
      if (frail === 'lost' || frail === 'hang') {
        answer.resume().once('end', () => frail === 'lost' && outgoing.destroy())
        return
      }
      outgoing.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(outgoing)
    })
    onward.once('error', () => outgoing.destroy())
    incoming.pipe(onward)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return Object.defineProperty(
    Object.assign(state, {
      issuer,
      asked: 0,
      stop: async () => {
        server.close()
        server.closeAllConnections()
      },
    }),
    'asked',
    { get: () => asked },
  )
}
