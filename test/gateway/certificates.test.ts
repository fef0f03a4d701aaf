import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { CertificateAuthority } from '../../src/gateway/certificates.ts'

const options = (folder: string, hosts = ['127.0.0.1', 'gateway.test']) => ({ folder, hosts, deployment: 'test' })
const fresh = () => mkdtempSync(join(tmpdir(), 'sallyport-ca-'))

async function handshake(authority: CertificateAuthority, ca: string, servername: string): Promise<boolean> {
  const server = createServer({ SNICallback: (_name, done) => done(null, authority.context()) })
  server.on('tlsClientError', () => {})
  await new Promise<void>(up => server.listen(0, '127.0.0.1', up))
  const { port } = server.address() as { port: number }
  const client: TLSSocket = connect({ host: '127.0.0.1', port, servername, ca })
  const authorized = await new Promise<boolean>(resolve => {
    client.once('secureConnect', () => resolve(client.authorized)).on('error', () => resolve(false))
  })
  client.destroy()
  server.close()
  return authorized
}

describe('the certificate of the listeners', () => {
  test('a client that trusts the CA trusts the server, by every name it was made for and no other', async () => {
    using authority = await CertificateAuthority.open(options(fresh()))
    expect(await handshake(authority, authority.ca, 'gateway.test')).toBe(true)
    expect(await handshake(authority, authority.ca, 'evil.test')).toBe(false)
    using other = await CertificateAuthority.open(options(fresh()))
    expect(await handshake(authority, other.ca, 'gateway.test')).toBe(false)
  })

  test('CA and certificate outlive a restart, with their keys in files of mode 0600', async () => {
    const folder = fresh()
    using first = await CertificateAuthority.open(options(folder))
    const server = readFileSync(join(folder, 'server.pem'), 'utf8')
    using second = await CertificateAuthority.open(options(folder))
    expect(second.ca).toBe(first.ca)
    expect(readFileSync(join(folder, 'server.pem'), 'utf8')).toBe(server)
    for (const name of ['ca.pem', 'server.pem']) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600)
  })

  test('workers that start together end up with one CA', async () => {
    const folder = fresh()
    const all = await Promise.all(Array.from({ length: 4 }, () => CertificateAuthority.open(options(folder))))
    expect(new Set(all.map(a => a.ca)).size).toBe(1)
    for (const one of all) {
      expect(await handshake(one, all[0]!.ca, 'gateway.test')).toBe(true)
      one[Symbol.dispose]()
    }
  })

  test('a new name, or another CA, makes a new certificate under the present CA', async () => {
    const folder = fresh()
    using first = await CertificateAuthority.open(options(folder))
    using wider = await CertificateAuthority.open(options(folder, ['127.0.0.1', 'gateway.test', 'new.test']))
    expect(wider.ca).toBe(first.ca)
    expect(await handshake(wider, first.ca, 'new.test')).toBe(true)
    rmSync(join(folder, 'ca.pem'))
    using renewed = await CertificateAuthority.open(options(folder))
    expect(renewed.ca).not.toBe(first.ca)
    expect(await handshake(renewed, renewed.ca, 'gateway.test')).toBe(true)
  })

  test('a key that others can read is refused, with the command that mends it', async () => {
    const folder = fresh()
    ;(await CertificateAuthority.open(options(folder)))[Symbol.dispose]()
    chmodSync(join(folder, 'ca.pem'), 0o644)
    await expect(CertificateAuthority.open(options(folder))).rejects.toMatchObject({
      code: 'bad_config',
      remedy: expect.stringContaining('chmod 600'),
    })
  })
})
