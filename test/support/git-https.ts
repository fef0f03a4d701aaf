import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'

export interface GitServer {
  readonly origin: string
  /** File with the certificate that signs this server's: what a client must trust. */
  readonly ca: string
  /** The token that is asked for. */
  token: string
  /** Sends every call there instead of serving it. */
  redirect: string | undefined
  /** `authorization` of each call that came, in order. */
  readonly authorizations: (string | undefined)[]
  /** Called while git waits for an answer: what do its arguments look like? */
  onCall: () => void
  stop(): Promise<void>
}

/** Serves the repositories below `root` by git's own `http-backend` over TLS, to whoever presents the token. */
export async function gitServer(root: string): Promise<GitServer> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-git-https-'))
  const [key, ca] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  const named = ['-subj', '/CN=git.test', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', ca]
  execFileSync('openssl', [...made, ...named], { stdio: 'ignore' })
  const sockets = new Set<TLSSocket>()
  const state = { token: 'right', redirect: undefined as string | undefined, onCall: () => {} }
  const authorizations: (string | undefined)[] = []
  const server: Server = createServer({ key: readFileSync(key), cert: readFileSync(ca) }, (request, response) => {
    const url = new URL(request.url ?? '/', 'https://x')
    authorizations.push(request.headers.authorization)
    state.onCall()
    if (state.redirect !== undefined)
      return void response.writeHead(302, { location: `${state.redirect}${request.url}` }).end()
    const wanted = `Basic ${Buffer.from(`x-access-token:${state.token}`).toString('base64')}`
    if (request.headers.authorization !== wanted)
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end('no')
    const backend = spawn('git', ['http-backend'], {
      env: {
        PATH: process.env['PATH'],
        GIT_PROJECT_ROOT: root,
        GIT_HTTP_EXPORT_ALL: '1',
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'safe.directory',
        GIT_CONFIG_VALUE_0: '*',
        PATH_INFO: url.pathname,
        QUERY_STRING: url.search.slice(1),
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
        HTTP_CONTENT_ENCODING: String(request.headers['content-encoding'] ?? ''),
        REMOTE_ADDR: '127.0.0.1',
      },
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    backend.stdin.on('error', () => {})
    request.pipe(backend.stdin)
    const chunks: Buffer[] = []
    backend.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    backend.once('close', () => {
      const all = Buffer.concat(chunks)
      const end = all.indexOf('\r\n\r\n')
      const headers = new Map(
        all
          .subarray(0, end)
          .toString()
          .split('\r\n')
          .map(line => line.split(/:\s*/, 2) as [string, string]),
      )
      const status = Number.parseInt(headers.get('Status') ?? '200', 10)
      headers.delete('Status')
      response.writeHead(status, Object.fromEntries(headers)).end(all.subarray(end + 4))
    })
  })
  server.on('secureConnection', socket => {
    sockets.add(socket.on('close', () => sockets.delete(socket)))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(state, {
    origin: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca,
    authorizations,
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise(resolve => server.close(resolve))
      rmSync(folder, { recursive: true, force: true })
    },
  })
}
