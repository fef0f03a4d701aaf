import { createPublicKey, generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import { describe, expect, onTestFinished, test } from 'vitest'
import { FieldError, FieldReader, field, u8, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { privateKeyFile } from '../../../src/protocols/ssh/wire/private-key.ts'
import {
  fingerprint,
  parsePublicKey,
  parsePublicKeyLine,
  publicKeyBlob,
  publicKeyLine,
} from '../../../src/protocols/ssh/wire/public-key.ts'
import { verifySignature } from '../../../src/protocols/ssh/wire/signature.ts'
import { ed25519Signature, freshKey } from './kit.ts'
import { keyFolder, sshKeygen } from './sshd.ts'

interface Vectors {
  readonly signatures: readonly { readonly key: string; readonly fingerprint: string; readonly sshsig: string }[]
}
const vectors: Vectors = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../vectors/ssh/certificates.json'), 'utf8'),
)

/** What an SSHSIG blob signs (OpenSSH PROTOCOL.sshsig), its algorithm and its signature. */
function openSshsig(base64: string): { data: Buffer; algorithm: string; signature: Buffer } {
  const all = Buffer.from(base64, 'base64')
  const fields = new FieldReader(all, 6)
  expect(all.toString('latin1', 0, 6)).toBe('SSHSIG')
  fields.u32()
  fields.bytes()
  const rest = [fields.bytes(), fields.bytes(), fields.bytes()].map(part => field(part))
  const signature = fields.bytes()
  const digest = hash('sha512', Buffer.from('a message\n'), 'buffer')
  const data = Buffer.concat([Buffer.from('SSHSIG'), ...rest, field(digest)])
  return { data, algorithm: new FieldReader(signature).text(), signature }
}

describe('public keys', () => {
  test.each(vectors.signatures)(
    'ssh-keygen’s key $fingerprint is read, written and named as ssh-keygen does',
    ({ key, fingerprint: name }) => {
      const { blob } = parsePublicKeyLine(`${key} someone@example.com`)
      expect(publicKeyLine(blob)).toBe(key)
      expect(fingerprint(blob)).toBe(name)
      expect(publicKeyBlob(parsePublicKey(blob).key).equals(blob)).toBe(true)
    },
  )

  test('a line with options in front, of two lines, or of another type than its key is refused', () => {
    const { key } = vectors.signatures[0]!
    for (const line of [
      `command="id" ${key}`,
      `${key}\n${key}`,
      key.replace('ssh-ed25519 ', 'ssh-rsa '),
      key.slice(0, -4),
      `${key.slice(0, -1)}=`,
      '',
    ])
      expect(() => parsePublicKeyLine(line)).toThrow(FieldError)
    expect(() => publicKeyLine(parsePublicKeyLine(key).blob, 'two\nlines')).toThrow(FieldError)
  })

  test('DSA, RSA of 1024 bits, a point off the curve, an even exponent and trailing bytes are refused', () => {
    const rsa = (bits: number, e = Buffer.of(1, 0, 1)) =>
      Buffer.concat([field('ssh-rsa'), field(e), field(Buffer.concat([u8(0), Buffer.alloc(bits / 8, 0xff)]))])
    const off = Buffer.concat([Buffer.of(4), Buffer.alloc(64, 1)])
    const wrong = [
      Buffer.concat([field('ssh-dss'), field(Buffer.alloc(128, 1))]),
      rsa(1024),
      rsa(16384),
      rsa(2048, Buffer.of(2)),
      rsa(2048, Buffer.of(1)),
      Buffer.concat([field('ecdsa-sha2-nistp256'), field('nistp256'), field(off)]),
      Buffer.concat([field('ecdsa-sha2-nistp256'), field('nistp384'), field(off)]),
      Buffer.concat([field('ssh-ed25519'), field(Buffer.alloc(31))]),
      Buffer.concat([freshKey().blob, u8(0)]),
      freshKey().blob.subarray(0, 40),
    ]
    for (const blob of wrong) expect(() => parsePublicKey(blob)).toThrow(FieldError)
    expect(parsePublicKey(rsa(2048)).type).toBe('ssh-rsa')
  })
})

describe('private keys', () => {
  test('an Ed25519 key that begins with a zero is written whole, and ssh2 and ssh-keygen read it', () => {
    const { key, blob } = zeroKey()
    const pem = privateKeyFile(key).reveal()
    expect((ssh2.utils.parseKey(pem) as ssh2.ParsedKey).getPublicSSH()).toEqual(blob)
    const folder = keyFolder()
    onTestFinished(folder.gone)
    writeFileSync(join(folder.path, 'key'), pem, { mode: 0o600 })
    expect(sshKeygen('-y', '-f', join(folder.path, 'key')).trim()).toBe(publicKeyLine(blob))
  })
})

/** One in 256. */
function zeroKey() {
  for (;;) {
    const made = freshKey()
    if (made.blob.at(-32) === 0) return made
  }
}

describe('signatures', () => {
  test.each(vectors.signatures)(
    'ssh-keygen’s signature by $fingerprint is right, and nothing near it is',
    ({ key, sshsig }) => {
      const { blob } = parsePublicKeyLine(key)
      const { data, algorithm, signature } = openSshsig(sshsig)
      expect(verifySignature(blob, algorithm, data, signature)).toBe(true)
      for (let at = 0; at < signature.length; at++) {
        const wrong = Buffer.from(signature)
        wrong[at]! ^= 1
        expect(verifySignature(blob, algorithm, data, wrong), `byte ${at}`).toBe(false)
      }
      expect(verifySignature(blob, algorithm, data.subarray(1), signature)).toBe(false)
      expect(verifySignature(blob, algorithm, data, Buffer.concat([signature, u8(0)]))).toBe(false)
      expect(verifySignature(blob, algorithm, data, signature.subarray(0, -1))).toBe(false)
      expect(verifySignature(freshKey().blob, algorithm, data, signature)).toBe(false)
    },
  )

  test('SS1: an Ed25519 key that is presented as another type proves nothing', () => {
    const { key, blob } = freshKey()
    const data = Buffer.from('session')
    const signature = ed25519Signature(key, data)
    expect(verifySignature(blob, 'ssh-ed25519', data, signature)).toBe(true)
    for (const name of ['ssh-rsa', 'rsa-sha2-256', 'ecdsa-sha2-nistp256', 'ssh-dss', 'constructor', '__proto__', '']) {
      expect(verifySignature(blob, name, data, signature)).toBe(false)
      const named = Buffer.concat([field(name), field(sign(null, data, key))])
      expect(verifySignature(blob, name, data, named)).toBe(false)
    }
  })

  test('SHA-1 is refused even where the signature is right', () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const data = Buffer.from('session')
    const by = (name: string, digest: string) => Buffer.concat([field(name), field(sign(digest, data, privateKey))])
    const blob = publicKeyBlob(privateKey)
    expect(verifySignature(blob, 'rsa-sha2-256', data, by('rsa-sha2-256', 'sha256'))).toBe(true)
    expect(verifySignature(blob, 'ssh-rsa', data, by('ssh-rsa', 'sha1'))).toBe(false)
    expect(verifySignature(blob, 'rsa-sha2-256', data, by('rsa-sha2-512', 'sha512'))).toBe(false)
  })

  test.each(['ed25519', 'ecdsa'])(
    'a hardware key (%s) proves itself only when it was touched, for its application',
    kind => {
      const { privateKey } =
        kind === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const data = Buffer.from('session')
      const type = kind === 'ed25519' ? 'sk-ssh-ed25519@openssh.com' : 'sk-ecdsa-sha2-nistp256@openssh.com'
      const blob = securityKeyBlob(privateKey, type, 'ssh:')
      const touched = securityKeySignature(privateKey, type, 'ssh:', data, 1)
      expect(verifySignature(blob, type, data, touched)).toBe(true)
      expect(verifySignature(blob, type, data, securityKeySignature(privateKey, type, 'ssh:', data, 0))).toBe(false)
      expect(verifySignature(blob, type, data, securityKeySignature(privateKey, type, 'ssh:other', data, 1))).toBe(
        false,
      )
      expect(verifySignature(blob, type, data, touched.subarray(0, -5))).toBe(false)
      const counted = Buffer.from(touched)
      counted[counted.length - 1]! ^= 1
      expect(verifySignature(blob, type, data, counted)).toBe(false)
    },
  )
})

function securityKeyBlob(key: KeyObject, type: string, application: string): Buffer {
  const fields = new FieldReader(publicKeyBlob(createPublicKey(key)))
  fields.bytes()
  return Buffer.concat([field(type), fields.rest(), field(application)])
}

function securityKeySignature(key: KeyObject, type: string, application: string, data: Buffer, flags: number): Buffer {
  const tail = Buffer.concat([u8(flags), u32(41)])
  const signed = Buffer.concat([hash('sha256', application, 'buffer'), tail, hash('sha256', data, 'buffer')])
  const raw =
    key.asymmetricKeyType === 'ed25519'
      ? sign(null, signed, key)
      : ecdsaValue(sign('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }))
  return Buffer.concat([field(type), field(raw), tail])
}

function ecdsaValue(pair: Buffer): Buffer {
  const number = (bytes: Buffer) => {
    let from = 0
    while (bytes[from] === 0) from++
    const short = bytes.subarray(from)
    return field(short[0]! & 0x80 ? Buffer.concat([u8(0), short]) : short)
  }
  return Buffer.concat([number(pair.subarray(0, 32)), number(pair.subarray(32))])
}
