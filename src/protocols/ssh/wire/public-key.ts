import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { FieldError, FieldReader, field, mpint } from './fields.ts'

/**
 * Public keys as SSH writes them (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709; `sk-` keys: OpenSSH PROTOCOL.u2f). DSA is not
 * here, and RSA below 2048 or above 8192 bits is refused.
 */
export interface PublicKey {
  readonly type: KeyType
  readonly key: KeyObject
  /** What a hardware key binds its signatures to; `null` for every other key. */
  readonly application: string | null
}

export type KeyType =
  | 'ssh-ed25519'
  | 'ecdsa-sha2-nistp256'
  | 'ecdsa-sha2-nistp384'
  | 'ecdsa-sha2-nistp521'
  | 'ssh-rsa'
  | 'sk-ssh-ed25519@openssh.com'
  | 'sk-ecdsa-sha2-nistp256@openssh.com'

export const curves = {
  nistp256: { jwk: 'P-256', bytes: 32, hash: 'sha256' },
  nistp384: { jwk: 'P-384', bytes: 48, hash: 'sha384' },
  nistp521: { jwk: 'P-521', bytes: 66, hash: 'sha512' },
} as const

type Curve = keyof typeof curves

const types = new Set<string>([
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
] satisfies KeyType[])

export const maxKeyBytes = 4096
const minRsaBits = 2048

export function isKeyType(name: string): name is KeyType {
  return types.has(name)
}

/** @throws FieldError for anything that is not exactly one key of a type that we take. */
export function parsePublicKey(blob: Buffer): PublicKey {
  if (blob.length > maxKeyBytes) throw new FieldError(`a key of ${blob.length} bytes`)
  const fields = new FieldReader(blob)
  const type = fields.text(64)
  if (!isKeyType(type)) throw new FieldError(`a key of the type ${JSON.stringify(type)}`)
  const key = readKey(type, fields)
  fields.end()
  return key
}

/** Reads what follows the type's name, in a key as in a certificate. */
export function readKey(type: KeyType, fields: FieldReader): PublicKey {
  const security = type.startsWith('sk-')
  const key =
    type === 'ssh-rsa' ? readRsa(fields) : type.includes('ed25519') ? readEd25519(fields) : readEcdsa(type, fields)
  return { type, key, application: security ? fields.text(256) : null }
}

function readEd25519(fields: FieldReader): KeyObject {
  const x = fields.bytes(32)
  if (x.length !== 32) throw new FieldError('an Ed25519 key that is not 32 bytes long')
  return imported({ kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') })
}

function readEcdsa(type: KeyType, fields: FieldReader): KeyObject {
  const name = /nistp\d+/.exec(type)![0] as Curve
  if (fields.text(16) !== name) throw new FieldError('a curve that is not the one of the key type')
  const { jwk, bytes } = curves[name]
  const point = fields.bytes(1 + 2 * bytes)
  if (point.length !== 1 + 2 * bytes || point[0] !== 4) throw new FieldError('a point in a form that is not taken')
  const x = point.toString('base64url', 1, 1 + bytes)
  return imported({ kty: 'EC', crv: jwk, x, y: point.toString('base64url', 1 + bytes) })
}

function readRsa(fields: FieldReader): KeyObject {
  const e = fields.mpint(5)
  const n = fields.mpint(1025)
  const bits = n.length * 8 - Math.clz32(n[0]!) + 24
  if (bits < minRsaBits) throw new FieldError(`an RSA key of ${bits} bits`)
  if (!(e[e.length - 1]! & 1) || (e.length === 1 && e[0]! < 3) || !(n[n.length - 1]! & 1))
    throw new FieldError('numbers that no RSA key has')
  return imported({ kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') })
}

function imported(key: { kty: string; [member: string]: string }): KeyObject {
  try {
    return createPublicKey({ key, format: 'jwk' })
  } catch {
    throw new FieldError('a key that is not valid')
  }
}

/** The blob of a key of ours, or of one that node:crypto read elsewhere. */
export function publicKeyBlob(key: KeyObject): Buffer {
  const jwk = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' })
  const part = (name: 'x' | 'y' | 'n' | 'e') => Buffer.from(jwk[name] ?? '', 'base64url')
  if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519') return Buffer.concat([field('ssh-ed25519'), field(part('x'))])
  if (jwk.kty === 'RSA') return Buffer.concat([field('ssh-rsa'), mpint(part('e')), mpint(part('n'))])
  const curve = Object.entries(curves).find(([, { jwk: crv }]) => crv === jwk.crv)?.[0]
  if (curve === undefined) throw new FieldError('a key of a type that is not taken')
  const point = Buffer.concat([Buffer.of(4), part('x'), part('y')])
  return Buffer.concat([field(`ecdsa-sha2-${curve}`), field(curve), field(point)])
}

/** `TYPE BASE64 COMMENT`, as in authorized_keys and known_hosts; also for certificates. */
export function publicKeyLine(blob: Buffer, comment = ''): string {
  if (/[\r\n]/.test(comment)) throw new FieldError('a comment of more than one line')
  const line = `${new FieldReader(blob).text(64)} ${blob.toString('base64')}`
  return comment === '' ? line : `${line} ${comment}`
}

/** @throws FieldError for anything but one plain key in one line; options in front of it are not taken. */
export function parsePublicKeyLine(line: string): { readonly blob: Buffer; readonly comment: string } {
  const match = /^([\w@.-]+)[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t]+([^\r\n]*))?$/.exec(line.trim())
  if (match === null || line.length > 2 * maxKeyBytes) throw new FieldError('a line that is no public key')
  const blob = Buffer.from(match[2]!, 'base64')
  if (blob.toString('base64') !== match[2]) throw new FieldError('a key whose base64 is not in its one form')
  if (parsePublicKey(blob).type !== match[1]) throw new FieldError('a key of another type than its line says')
  return { blob, comment: match[3]?.trim() ?? '' }
}

/** `SHA256:…`, as ssh-keygen prints it. */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`
}
