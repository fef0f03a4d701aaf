import { execFileSync } from 'node:child_process'
import { chownSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type EmbeddedServer, startEmbedded } from '../../../src/db/embedded.ts'
import type { Target } from '../../../src/gateway/protocol.ts'
import type { Permit } from '../../../src/policy/permit.ts'
import { dial } from '../../../src/protocols/postgres/dial.ts'
import { closeUpstream, runQuery } from '../../../src/protocols/postgres/queries.ts'
import { Secret } from '../../../src/secret.ts'

/** The leg to a real PostgreSQL under TLS: what each sslmode believes, and the one line that says why not. */
let folder: string
let server: EmbeddedServer
let ca: string
let otherCa: string

const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
function authority(name: string): string {
  openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.crt`,
    '-days',
    '30',
    '-subj',
    `/CN=${name}`,
  )
  return readFileSync(join(folder, `${name}.crt`), 'utf8')
}
/** A certificate for `names` of the CA `by`; `days` below zero: it has expired. */
function certificate(name: string, names: string, by: string, days = 30): void {
  writeFileSync(join(folder, `${name}.ext`), `subjectAltName=${names}`)
  openssl(
    'req',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
    '-subj',
    `/CN=${name}`,
  )
  const from = days < 0 ? ['-not_before', '20200101000000Z', '-not_after', '20200201000000Z'] : ['-days', String(days)]
  const sign = (...dates: string[]) =>
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      `${by}.crt`,
      '-CAkey',
      `${by}.key`,
      '-CAcreateserial',
      '-out',
      `${name}.crt`,
      '-extfile',
      `${name}.ext`,
      ...dates,
    )
  try {
    sign(...from)
  } catch {
    // an OpenSSL before 3.4 cannot give dates: one that was good for no day at all has expired as well
    sign('-days', '-1')
  }
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-target-tls-'))
  ca = authority('ca')
  otherCa = authority('other')
  certificate('good', 'IP:127.0.0.1,DNS:localhost', 'ca')
  certificate('elsewhere', 'DNS:db.elsewhere.example', 'ca')
  certificate('expired', 'IP:127.0.0.1', 'ca', -1)
  server = await startEmbedded({
    name: 'the target',
    dataDir: join(folder, 'target'),
    port: 0,
    superuser: 'boss',
    durable: false,
  })
})
afterAll(async () => {
  await server?.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function serve(name: string | null): Promise<void> {
  const cluster = join(folder, 'target/cluster')
  const { uid, gid } = statSync(cluster)
  if (name !== null)
    for (const end of ['crt', 'key']) {
      const file = join(cluster, `server.${end}`)
      copyFileSync(join(folder, `${name}.${end}`), file)
      chownSync(file, uid, gid)
      execFileSync('chmod', ['600', file])
    }
  const client = new pg.Client({ connectionString: server.url('postgres').reveal() })
  await client.connect()
  await client.query(`alter system set ssl = ${name === null ? 'off' : 'on'}`)
  await client.query('select pg_reload_conf()')
  await client.end()
  await new Promise(resolve => setTimeout(resolve, 500))
}

/** What a login says: 'ok' and whether it is encrypted, or the reason. */
async function login(sslmode: string | undefined, trusted: string | undefined, host = '127.0.0.1'): Promise<string> {
  const url = new URL(server.url('postgres').reveal())
  const target: Target = {
    resource: {
      name: 'shop',
      protocol: 'postgres',
      host,
      port: server.port,
      labels: {},
      secret: 's',
      options: {
        database: 'postgres',
        ...(sslmode === undefined ? {} : { sslmode }),
        ...(trusted === undefined ? {} : { ca: trusted }),
        lease: { kind: 'stored', user: 'boss' },
      },
    },
    connect: async () => connect({ host: '127.0.0.1', port: server.port }),
    secret: () => new Secret(decodeURIComponent(url.password)),
  } as unknown as Target
  const permit = {} as Permit
  try {
    const upstream = await dial(permit, target, { user: 'boss', secret: target.secret(permit) } as never, {})
    const [row] = await runQuery(
      upstream,
      'select ssl::text as on from pg_stat_ssl where pid = pg_backend_pid()',
      'shop',
    )
    closeUpstream(upstream)
    return `ok, ssl ${row?.['on']}`
  } catch (error) {
    return (error as Error).message
  }
}

test('verify-full takes the right CA and name, and is what holds where nothing is said', async () => {
  await serve('good')
  expect(await login('verify-full', ca)).toBe('ok, ssl true')
  expect(await login(undefined, ca)).toBe('ok, ssl true')
  expect(await login('verify-full', ca, 'localhost')).toBe('ok, ssl true')
})

test.each([
  [
    'a CA that did not sign it',
    'good',
    (): string | undefined => otherCa,
    '127.0.0.1',
    /^shop cannot be used: TLS failed: .*(certificate|issuer)/,
  ],
  [
    "the system's CAs, where none is given",
    'good',
    (): string | undefined => undefined,
    '127.0.0.1',
    /^shop cannot be used: TLS failed: .*(certificate|issuer)/,
  ],
  [
    'another host name',
    'elsewhere',
    (): string | undefined => ca,
    'localhost',
    /^shop cannot be used: TLS failed: .*altnames/,
  ],
  [
    'another address',
    'elsewhere',
    (): string | undefined => ca,
    '127.0.0.1',
    /^shop cannot be used: TLS failed: .*(altnames|does not match|not in the cert)/,
  ],
  [
    'a certificate that has expired',
    'expired',
    (): string | undefined => ca,
    '127.0.0.1',
    /^shop cannot be used: TLS failed: .*expired/,
  ],
] as const)('verify-full refuses %s in one line', async (_title, name, trusted, host, words) => {
  await serve(name)
  const said = await login('verify-full', trusted(), host)
  expect(said).toMatch(words)
  expect(said).not.toContain('\n')
})

test('verify-ca asks for the CA and not for the name; require asks for neither', async () => {
  await serve('elsewhere')
  expect(await login('verify-ca', ca)).toBe('ok, ssl true')
  expect(await login('verify-ca', otherCa)).toContain('TLS failed')
  expect(await login('require', otherCa)).toBe('ok, ssl true')
})

test('a target without TLS is refused by all but prefer and disable', async () => {
  await serve(null)
  for (const mode of ['require', 'verify-ca', 'verify-full'])
    expect(await login(mode, ca)).toBe(`shop cannot be used: it offers no TLS, and its sslmode is ${mode}`)
  expect(await login('prefer', ca)).toBe('ok, ssl false')
  expect(await login('disable', ca)).toBe('ok, ssl false')
})
