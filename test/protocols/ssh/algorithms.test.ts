import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import {
  certificateAuth,
  pinnedHost,
  preferFastCiphers,
  towardsClients,
  towardsTarget,
} from '../../../src/protocols/ssh/algorithms.ts'
import { ssh } from '../../../src/protocols/ssh/index.ts'
import { checkLibrary, nativeCrypto } from '../../../src/protocols/ssh/inside.ts'
import { certificateSigner, signUserCertificate } from '../../../src/protocols/ssh/wire/certificate.ts'
import { checkUserCertificate } from '../../../src/protocols/ssh/wire/certificate-check.ts'
import { field } from '../../../src/protocols/ssh/wire/fields.ts'
import { type ShownKey, shownKey } from '../../../src/protocols/ssh/wire/proof.ts'
import { parsePublicKeyLine, publicKeyBlob, publicKeyLine } from '../../../src/protocols/ssh/wire/public-key.ts'
import { freshKey, keyFiles } from './kit.ts'
import { clientOptions, keyFolder, run, type Sshd, sshKeygen, startSshd } from './sshd.ts'

const now_s = () => Math.floor(Date.now() / 1000)
const login = userInfo().username
const folder = keyFolder()
afterAll(() => folder.gone())

test('exactly the version of ssh2 is loaded whose inner parts are touched, and it says whether its ciphers are compiled', () => {
  expect(() => checkLibrary()).not.toThrow()
  const ciphers = nativeCrypto() ? 'compiled' : expect.stringContaining('npm rebuild ssh2')
  expect(ssh.check?.()).toEqual({ library: 'ssh2 1.17.0', ciphers })
})

describe('to a target, by a certificate', () => {
  const ca = freshKey()
  let sshd: Sshd
  beforeAll(async () => {
    const trusted = join(folder.path, 'ca.pub')
    writeFileSync(trusted, `${publicKeyLine(ca.blob, 'target CA')}\n`)
    sshd = await startSshd(folder.path, [`TrustedUserCAKeys ${trusted}`, 'AuthorizedKeysFile none'])
  })
  afterAll(() => sshd.stop())

  const ended: ssh2.Client[] = []
  afterEach(() => {
    for (const client of ended.splice(0)) client.end()
  })

  async function connect(
    change: { principal?: string; signer?: typeof ca; from_s?: number; pinned?: Buffer[] } = {},
  ): Promise<ssh2.Client> {
    const session = freshKey()
    const from_s = change.from_s ?? now_s() - 30
    const certificate = signUserCertificate(
      {
        public_key_blob: session.blob,
        key_id: 'ses_0123 for ada@example.com',
        principal: change.principal ?? login,
        serial: 5n,
        valid_after_s: from_s,
        valid_before_s: from_s + 90,
        source_address: ['127.0.0.0/8'],
        extensions: ['permit-pty'],
      },
      certificateSigner((change.signer ?? ca).key),
    )
    const pinned = change.pinned ?? [sshd.host_key]
    const offered: Buffer[] = []
    const auth = certificateAuth({ user: login, certificate, private_key: session.key })
    const client = new ssh2.Client()
    ended.push(client)
    client.connect({
      host: '127.0.0.1',
      port: sshd.port,
      username: login,
      algorithms: towardsTarget(pinned),
      hostVerifier: pinnedHost(pinned, key => offered.push(key)),
      authHandler: auth.handler as never,
    })
    auth.install(client)
    await new Promise<void>((done, fail) =>
      client
        .on('ready', done)
        .on('error', fail)
        .on('close', () => fail(new Error('closed'))),
    )
    return client
  }

  test('sshd admits the session’s own key, logs whose it is, and runs what is asked', async () => {
    const client = await connect()
    const channel = await new Promise<ssh2.ClientChannel>((done, fail) =>
      client.exec('echo "$((6 * 7))"; exit 3', (error, made) => (error ? fail(error) : done(made))),
    )
    const out: Buffer[] = []
    channel.on('data', (data: Buffer) => out.push(data))
    const [code] = await once(channel, 'close')
    expect(Buffer.concat(out).toString()).toBe('42\n')
    expect(code).toBe(3)
    expect(sshd.log()).toContain('ID ses_0123 for ada@example.com (serial 5) CA ED25519')
  })

  test.each([
    ['of another principal', { principal: 'somebody' }],
    ['of a foreign authority', { signer: freshKey() }],
    ['that has expired', { from_s: now_s() - 600 }],
  ])('a certificate %s opens nothing', async (_what, change) => {
    await expect(connect(change)).rejects.toThrow('All configured authentication methods failed')
  })

  test('SS9: a host key that is not pinned is refused before anything is proved', async () => {
    await expect(connect({ pinned: [freshKey().blob] })).rejects.toThrow('Host denied (verification failed)')
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    await expect(connect({ pinned: [publicKeyBlob(privateKey)] })).rejects.toThrow('no matching host key')
    expect(() => towardsTarget([])).toThrow('no host key is pinned')
  })

  test('SS4, point 10: neither leg offers what Terrapin needs, SHA-1, DSA or compression', async () => {
    const algorithms = [towardsClients, towardsTarget([sshd.host_key])]
    for (const name of algorithms.flatMap(each => Object.values(each).flat() as string[]))
      expect(name).not.toMatch(/chacha|cbc|sha1|^ssh-rsa$|^ssh-dss$|md5|arcfour|zlib|group1-|96$/)
    expect(algorithms.map(({ compress }) => compress)).toEqual([['none'], ['none']])
  })
})

describe('from a real ssh', () => {
  const ca = freshKey()
  const seen: (ShownKey | undefined)[] = []
  let server: ssh2.Server
  let port: number

  beforeAll(async () => {
    const host = keyFiles().private
    server = new ssh2.Server({ hostKeys: [host], algorithms: towardsClients }, (connection, info) => {
      preferFastCiphers(connection, info.header.versions.software)
      connection.on('error', () => {})
      connection.on('authentication', context => {
        if (context.method !== 'publickey') return context.reject(['publickey'])
        const shown = shownKey(context as never)
        seen.push(shown)
        const terms = { cas: [ca.blob], principal: context.username, address: '127.0.0.1', now_s: now_s() }
        const admitted =
          shown !== undefined &&
          (shown.certificate === null
            ? context.username === 'plain'
            : checkUserCertificate(shown.certificate, terms) === undefined)
        if (admitted) context.accept()
        else context.reject(['publickey'])
      })
      connection.on('session', accept => {
        accept().on('exec', take => {
          const channel = take()
          channel.exit(0)
          channel.end('welcome\n')
        })
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  })
  afterAll(() => server.close())

  const kinds: readonly [string, readonly string[]][] = [
    ['ed25519', ['-t', 'ed25519']],
    ['ecdsa-256', ['-t', 'ecdsa', '-b', '256']],
    ['ecdsa-384', ['-t', 'ecdsa', '-b', '384']],
    ['ecdsa-521', ['-t', 'ecdsa', '-b', '521']],
    ['rsa', ['-t', 'rsa', '-b', '2048']],
  ]

  test.each(kinds)('a certificate of ours over an %s key is admitted, and so is the plain key', async (name, kind) => {
    const key = join(folder.path, `client-${name}`)
    sshKeygen(...kind, '-f', key)
    const { blob } = parsePublicKeyLine((await run('ssh-keygen', ['-y', '-f', key])).out)
    const ticket = 'tkt_0123'
    writeFileSync(`${key}-cert.pub`, publicKeyLine(certificateFor(blob, ticket)))
    const ssh = [...clientOptions(port), '-i', key, '-o', `CertificateFile=${key}-cert.pub`, '127.0.0.1', 'anything']
    seen.length = 0
    expect(await run('ssh', ['-l', ticket, ...ssh])).toMatchObject({ code: 0, out: 'welcome\n' })
    expect(seen.at(-1)).toMatchObject({ proved: true, certificate: { key_id: ticket } })
    expect(seen.at(-1)!.public_key_blob.equals(blob)).toBe(true)
    expect((await run('ssh', ['-l', 'tkt_9999', ...ssh])).err).toContain('Permission denied (publickey)')
    seen.length = 0
    expect(
      await run('ssh', [
        '-l',
        'plain',
        ...clientOptions(port),
        '-i',
        key,
        '-o',
        'CertificateFile=none',
        '127.0.0.1',
        'x',
      ]),
    ).toMatchObject({ code: 0 })
    expect(seen.at(-1)).toMatchObject({ proved: true, certificate: null })
  })

  test('SS4: strict key exchange is negotiated with it', async () => {
    const said = await run('ssh', ['-vv', '-l', 'nobody', ...clientOptions(port), '127.0.0.1', 'x'])
    expect(said.err).toContain('resetting read seqnr')
    expect(said.err).toMatch(/kex: server->client cipher: aes128-gcm@openssh.com MAC: <implicit> compression: none/)
    const insists = ['-o', 'Ciphers=chacha20-poly1305@openssh.com', '-l', 'nobody', ...clientOptions(port)]
    expect((await run('ssh', [...insists, '127.0.0.1', 'x'])).err).toContain('no matching cipher found')
  })

  function certificateFor(public_key_blob: Buffer, ticket: string): Buffer {
    const request = { public_key_blob, key_id: ticket, principal: ticket, serial: 1n, extensions: ['permit-pty'] }
    const window = { valid_after_s: now_s() - 30, valid_before_s: now_s() + 60 }
    return signUserCertificate({ ...request, ...window }, certificateSigner(ca.key))
  }
})

describe('keys that are shown', () => {
  const { key, blob } = freshKey()
  const session = Buffer.from('session id and request')
  const signature = sign(null, session, key)

  test('SS2: a question proves nothing, and the key that signed is the one that is named', () => {
    expect(shownKey({ key: { algo: 'ssh-ed25519', data: blob } })).toMatchObject({ proved: false })
    const other = freshKey()
    expect(shownKey({ key: { algo: 'ssh-ed25519', data: blob }, blob: session, signature })).toMatchObject({
      proved: true,
    })
    expect(shownKey({ key: { algo: 'ssh-ed25519', data: other.blob }, blob: session, signature })).toBeUndefined()
  })

  test('SS1: a key under another name, and a signature that makes ssh2’s verify() answer an Error, are refused', () => {
    for (const [algo, hashAlgo] of [
      ['ssh-rsa', undefined],
      ['ssh-rsa', 'sha256'],
      ['ssh-rsa', 'sha512'],
      ['ssh-rsa', 'sha1'],
      ['ssh-dss', undefined],
      ['ecdsa-sha2-nistp256', undefined],
      ['ssh-ed25519-cert-v01@openssh.com', undefined],
    ] as const)
      expect(
        shownKey({ key: { algo, data: blob }, hashAlgo, blob: session, signature }),
        `${algo} ${hashAlgo}`,
      ).toBeUndefined()
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const ecdsa = publicKeyBlob(privateKey)
    const naive = ssh2.utils.parseKey(publicKeyLine(ecdsa)) as ssh2.ParsedKey
    for (const value of [Buffer.alloc(0), Buffer.from('3000', 'hex'), Buffer.alloc(64, 1)]) {
      const request = { key: { algo: 'ecdsa-sha2-nistp256', data: ecdsa }, blob: session, signature: value }
      expect(naive.verify(session, value)).not.toBe(true)
      expect(shownKey(request)).toBeUndefined()
    }
  })

  test('a signature without the bytes that it signs, and a key that is a certificate in disguise, are refused', () => {
    expect(shownKey({ key: { algo: 'ssh-ed25519', data: blob }, signature })).toBeUndefined()
    const disguised = Buffer.concat([blob, field('more')])
    expect(shownKey({ key: { algo: 'ssh-ed25519', data: disguised } })).toBeUndefined()
  })
})
