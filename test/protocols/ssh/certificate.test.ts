import { execFileSync } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  certificateSigner,
  isCertificateName,
  parseCertificate,
  plainName,
  signUserCertificate,
  type UserCertificateRequest,
} from '../../../src/protocols/ssh/wire/certificate.ts'
import { checkUserCertificate, permits } from '../../../src/protocols/ssh/wire/certificate-check.ts'
import { FieldError, field } from '../../../src/protocols/ssh/wire/fields.ts'
import {
  fingerprint,
  parsePublicKeyLine,
  publicKeyBlob,
  publicKeyLine,
} from '../../../src/protocols/ssh/wire/public-key.ts'
import { ed25519Signature, type Forgery, forge, forgeryTime_s, freshKey } from './kit.ts'

interface Vector {
  readonly name: string
  readonly certificate: string
  readonly answer: string
  readonly key?: string
  readonly key_id?: string
  readonly serial?: string
  readonly principals?: readonly string[]
  readonly extensions?: readonly string[]
}
interface Vectors {
  readonly authorities: Readonly<Record<string, string>>
  readonly certificates: readonly Vector[]
  readonly ours: { readonly seed: string; readonly nonce: string; readonly certificate: string }
}
const vectors: Vectors = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../vectors/ssh/certificates.json'), 'utf8'),
)
const cas = Object.values(vectors.authorities).map(line => parsePublicKeyLine(line).blob)
const day_s = 86_400
const opened_s = Date.UTC(2026, 10, 1) / 1000
const terms = { cas, principal: 'deploy', address: '192.0.2.7', now_s: opened_s }
const blobOf = (line: string) => Buffer.from(line.split(' ')[1]!, 'base64')

describe('certificates of ssh-keygen', () => {
  test.each(vectors.certificates)('$name: $answer', ({ certificate: line, answer, ...expected }) => {
    const blob = blobOf(line)
    if (answer === 'not read') {
      expect(() => parseCertificate(blob)).toThrow(FieldError)
      return
    }
    const certificate = parseCertificate(blob)
    expect(checkUserCertificate(certificate, terms) ?? 'accepted').toBe(answer)
    expect(publicKeyLine(blob)).toBe(line)
    if (expected.key !== undefined) expect(publicKeyLine(certificate.public_key_blob)).toBe(expected.key)
    if (expected.key_id !== undefined) expect(certificate.key_id).toBe(expected.key_id)
    if (expected.serial !== undefined) expect(String(certificate.serial)).toBe(expected.serial)
    if (expected.principals !== undefined) expect(certificate.principals).toEqual(expected.principals)
    if (expected.extensions !== undefined)
      expect(certificate.extensions.map(({ name }) => name)).toEqual(expected.extensions)
  })

  const named = (name: string) =>
    parseCertificate(blobOf(vectors.certificates.find(each => each.name === name)!.certificate))

  test('SS5: a foreign authority, another principal, a moment too early or too late are refused', () => {
    const certificate = named('user-ed25519')
    const answer = (with_: object) => checkUserCertificate(certificate, { ...terms, ...with_ })
    expect(answer({})).toBeUndefined()
    expect(answer({ cas: [freshKey().blob] })).toBe('its authority is not trusted here')
    expect(answer({ cas: [] })).toBe('its authority is not trusted here')
    expect(answer({ principal: 'root' })).toBe('it is for somebody else')
    expect(answer({ principal: '' })).toBe('it is for somebody else')
    expect(answer({ now_s: opened_s - 1 })).toBe('it is not valid yet')
    expect(answer({ now_s: opened_s + 30 * day_s - 0.5 })).toBeUndefined()
    expect(answer({ now_s: opened_s + 30 * day_s })).toBe('it has expired')
    expect(answer({ revoked: () => true })).toBe('it is revoked')
  })

  test('SS5: a source address admits its ranges only, an IPv4 address in IPv6 clothes among them', () => {
    const answer = (address: string) => checkUserCertificate(named('source'), { ...terms, address })
    for (const address of ['192.0.2.200', '::ffff:192.0.2.200', '2001:db8::1']) expect(answer(address)).toBeUndefined()
    for (const address of ['192.0.3.1', '2001:db9::1', '::ffff:192.0.3.1', '', 'localhost'])
      expect(answer(address)).toBe('it is for another address')
  })

  test('extensions say what the holder may ask for', () => {
    expect(permits(named('user-ed25519'), 'permit-pty')).toBe(true)
    expect(permits(named('clear'), 'permit-pty')).toBe(false)
  })

  test('with any byte changed, nothing is read', () => {
    const blob = blobOf(vectors.certificates[0]!.certificate)
    for (let at = 0; at < blob.length; at++) {
      const wrong = Buffer.from(blob)
      wrong[at]! ^= 0x01
      expect(() => parseCertificate(wrong), `byte ${at}`).toThrow(FieldError)
      expect(() => parseCertificate(blob.subarray(0, at)), `cut at ${at}`).toThrow(FieldError)
    }
  })
})

describe('certificates that nobody should sign', () => {
  const ca = freshKey()
  const holder = freshKey()
  const own = { cas: [ca.blob], principal: 'deploy', address: '192.0.2.7', now_s: forgeryTime_s }

  test('the forger’s tool makes one that is accepted', () => {
    expect(checkUserCertificate(parseCertificate(forge(holder.blob, ca.key)), own)).toBeUndefined()
  })

  const unreadable: readonly [string, Forgery][] = [
    ['bytes after its end', { tail: Buffer.of(0) }],
    ['a reserved field', { reserved: 'x' }],
    ['a kind that is neither user nor host', { kind: 3 }],
    ['a line feed in the key id', { key_id: 'a\nb' }],
    ['a NUL in a principal', { principals: ['deploy\0root'] }],
    ['33 principals', { principals: Array.from({ length: 33 }, (_, i) => `p${i}`) }],
    [
      'options out of order',
      {
        extensions: [
          { name: 'permit-pty', data: '' },
          { name: 'permit-agent-forwarding', data: '' },
        ],
      },
    ],
    [
      'an option twice',
      {
        critical: [
          { name: 'source-address', data: '::/0' },
          { name: 'source-address', data: '192.0.2.7' },
        ],
      },
    ],
    ['a flag with a value', { extensions: [{ name: 'permit-pty', data: 'no' }] }],
    ['the type of another key', { type: 'ssh-rsa-cert-v01@openssh.com' }],
    ['the type of a plain key', { type: 'ssh-ed25519' }],
    ['a signature by its holder', { signature: signed => ed25519Signature(holder.key, signed) }],
    ['a signature without its last byte', { signature: signed => ed25519Signature(ca.key, signed).subarray(0, -1) }],
    ['a signature over something else', { signature: () => ed25519Signature(ca.key, Buffer.from('else')) }],
    ['no signature', { signature: () => Buffer.alloc(0) }],
    ['a signature by a name of Object', { signature: () => Buffer.concat([field('constructor'), field('x')]) }],
  ]
  test.each(unreadable)('with %s: not read', (_what, with_) => {
    expect(() => parseCertificate(forge(holder.blob, ca.key, with_))).toThrow(FieldError)
  })

  const refused: readonly [string, Forgery, string][] = [
    ['SS5: principal "deploy,root"', { principals: ['deploy,root'] }, 'it names somebody by a list or a pattern'],
    [
      'SS5: principal "*" beside the right one',
      { principals: ['deploy', '*'] },
      'it names somebody by a list or a pattern',
    ],
    ['SS5: an empty principal', { principals: ['', 'deploy'] }, 'it names somebody by a list or a pattern'],
    ['SS5: no principal', { principals: [] }, 'it names nobody'],
    ['SS5: of a host', { kind: 2 }, 'it is a certificate of a host'],
    ['a window that never opens', { valid_before_s: 0n }, 'it has expired'],
    ['an empty source address', { critical: [{ name: 'source-address', data: '' }] }, 'it is for another address'],
    [
      'a source address that is a name',
      { critical: [{ name: 'source-address', data: 'localhost' }] },
      'it is for another address',
    ],
  ]
  test.each(refused)('%s: refused', (_what, with_, answer) => {
    expect(checkUserCertificate(parseCertificate(forge(holder.blob, ca.key, with_)), own)).toBe(answer)
  })

  test('a certificate as its own authority is not read', () => {
    const inner = forge(ca.blob, ca.key)
    const whole = forge(holder.blob, ca.key)
    const at = whole.indexOf(field(ca.blob))
    const wrong = Buffer.concat([whole.subarray(0, at), field(inner), whole.subarray(at + field(ca.blob).length)])
    expect(() => parseCertificate(wrong)).toThrow(FieldError)
  })

  test('names of certificates lead to names of keys', () => {
    expect(plainName('rsa-sha2-256-cert-v01@openssh.com')).toBe('rsa-sha2-256')
    expect(plainName('sk-ssh-ed25519-cert-v01@openssh.com')).toBe('sk-ssh-ed25519@openssh.com')
    expect(isCertificateName('ssh-ed25519')).toBe(false)
  })
})

describe('certificates of ours', () => {
  const ca = freshKey()
  const holder = freshKey()
  const request: UserCertificateRequest = {
    public_key_blob: holder.blob,
    key_id: 'tkt_0123',
    principal: 'tkt_0123',
    serial: 42n,
    valid_after_s: forgeryTime_s - 30,
    valid_before_s: forgeryTime_s + 60,
    source_address: ['192.0.2.0/24', '2001:db8::1'],
    extensions: ['permit-pty'],
  }

  test('what was signed is what is read', () => {
    const certificate = parseCertificate(signUserCertificate(request, certificateSigner(ca.key)))
    expect(certificate).toMatchObject({
      kind: 'user',
      key_id: 'tkt_0123',
      principals: ['tkt_0123'],
      serial: 42n,
      valid_after_s: BigInt(forgeryTime_s - 30),
      valid_before_s: BigInt(forgeryTime_s + 60),
      critical: [{ name: 'source-address', data: '192.0.2.0/24,2001:db8::1' }],
      extensions: [{ name: 'permit-pty', data: '' }],
    })
    expect(certificate.public_key_blob.equals(holder.blob)).toBe(true)
    expect(certificate.ca_blob.equals(ca.blob)).toBe(true)
  })

  test('SS5: what must never be signed is not', () => {
    const wrong: Partial<UserCertificateRequest>[] = [
      { principal: 'deploy,root' },
      { principal: '*' },
      { principal: '' },
      { principal: '-oProxyCommand' },
      { principal: 'a b' },
      { key_id: '' },
      { key_id: 'a\nb' },
      { valid_before_s: forgeryTime_s - 30 },
      { valid_after_s: -1 },
      { valid_before_s: Number.NaN },
      { source_address: ['localhost'] },
      { source_address: ['192.0.2.0/24,::/0'] },
      { source_address: ['192.0.2.0/33'] },
      { extensions: ['force-command'] },
      { public_key_blob: Buffer.alloc(3) },
    ]
    for (const each of wrong)
      expect(
        () => signUserCertificate({ ...request, ...each }, certificateSigner(ca.key)),
        JSON.stringify(each),
      ).toThrow()
  })

  test('any request gives a certificate that is accepted for its principal, and the same bytes for the same nonce', () => {
    const name = fc.stringMatching(/^[a-z_][a-z0-9_.@-]{0,20}$/)
    const keyId = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
      .filter(text => !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text))
    const window = fc.tuple(fc.nat(1e9), fc.integer({ min: 1, max: 1e9 }))
    const flags = fc.subarray([
      'permit-pty',
      'permit-port-forwarding',
      'permit-agent-forwarding',
      'permit-X11-forwarding',
    ])
    const signer = certificateSigner(ca.key)
    fc.assert(
      fc.property(
        name,
        keyId,
        window,
        flags,
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (principal, key_id, [from, for_s], extensions, serial) => {
          const each = {
            ...request,
            principal,
            key_id,
            valid_after_s: from,
            valid_before_s: from + for_s,
            extensions,
            serial,
          }
          const blob = signUserCertificate(each, signer, Buffer.alloc(32, 1))
          const own = { cas: [ca.blob], principal, address: '192.0.2.1', now_s: from }
          expect(checkUserCertificate(parseCertificate(blob), own)).toBeUndefined()
          expect(signUserCertificate(each, signer, Buffer.alloc(32, 1)).equals(blob)).toBe(true)
        },
      ),
      { numRuns: 50 },
    )
  })

  test('the bytes are those of the vector', () => {
    const { seed, nonce, certificate } = vectors.ours
    const key = createPrivateKey({
      key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.from(seed, 'hex')]),
      format: 'der',
      type: 'pkcs8',
    })
    const blob = signUserCertificate(
      { ...request, public_key_blob: publicKeyBlob(key) },
      certificateSigner(key),
      Buffer.from(nonce, 'hex'),
    )
    expect(blob.toString('base64')).toBe(certificate)
  })

  test('ssh-keygen -L reads them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-certificate-'))
    try {
      const file = join(folder, 'key-cert.pub')
      writeFileSync(file, `${publicKeyLine(signUserCertificate(request, certificateSigner(ca.key)), 'made here')}\n`)
      const said = execFileSync('ssh-keygen', ['-L', '-f', file], {
        encoding: 'utf8',
        env: { ...process.env, TZ: 'UTC' },
      })
      expect(said).toContain('Type: ssh-ed25519-cert-v01@openssh.com user certificate')
      expect(said).toContain(`Public key: ED25519-CERT ${fingerprint(holder.blob)}`)
      expect(said).toContain(`Signing CA: ED25519 ${fingerprint(ca.blob)} (using ssh-ed25519)`)
      expect(said).toContain('Key ID: "tkt_0123"')
      expect(said).toContain('Serial: 42')
      expect(said).toContain('Valid: from 2025-11-24T15:59:30 to 2025-11-24T16:01:00')
      expect(said).toMatch(/Principals:\s+tkt_0123\n/)
      expect(said).toMatch(/Critical Options:\s+source-address 192\.0\.2\.0\/24,2001:db8::1\n/)
      expect(said).toMatch(/Extensions:\s+permit-pty\n/)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
