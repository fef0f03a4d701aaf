import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto'
import { closeSync, fstatSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { inspect } from 'node:util'
import { SallyportError } from './errors.ts'
import { Secret } from './secret.ts'

/**
 * One root key file a role; every symmetric key of the role derives from it by purpose (HKDF-SHA-256), so that a value
 * sealed for one purpose opens for no other. The gateway's root derives from control's: control can open what it shares
 * with the gateway (tickets), the gateway can open nothing else of control's.
 */
export type Purpose =
  | 'cookies'
  | 'sign-ins'
  | 'refresh-tokens'
  | 'tickets'
  | 'mask-hash'
  | 'pretences'
  | 'decision-inputs'
  | 'decision-spool'
  | 'links'

const header = 'sallyport-root-1 '
const rootBytes = 32
const version = 1
const nonceBytes = 12
const tagBytes = 16
const maxRefBytes = 256 * 1024

/** Key material that no way of printing shows. */
abstract class Hidden {
  readonly #key: KeyObject

  constructor(key: KeyObject) {
    this.#key = key
  }

  get key(): KeyObject {
    return this.#key
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}

/** The root of one role. Use it to derive, never to encrypt. */
export class RootKey extends Hidden {
  readonly kind = 'root'
}

/** A key for one purpose. */
export class DerivedKey extends Hidden {
  readonly purpose: string

  constructor(purpose: string, key: KeyObject) {
    super(key)
    this.purpose = purpose
  }
}

/**
 * Reads a root key file.
 * @throws SallyportError `bad_config` when the file is missing, open to others than its owner, or no root key.
 */
export function loadRootKey(path: string): RootKey {
  return parseRoot(readPrivate(path, 0o177, 'chmod 600'), `the root key file ${path}`)
}

/** The root key that a setting of `keys:` names (`file:` or `env:`). */
export function rootKeyOf(ref: string): RootKey {
  if (ref.startsWith('file:')) return loadRootKey(ref.slice('file:'.length))
  return parseRoot(secretRef(ref).reveal(), `the root key ${ref}`)
}

/** Makes a root key file, readable by its owner only. It never replaces a file: a lost root key cannot be made again. */
export function createRootKey(path: string): RootKey {
  return writeRoot(path, randomBytes(rootBytes))
}

/** Makes the gateway's root key file from control's root, so that both derive the same `tickets` key. */
export function createGatewayRootKey(path: string, control: RootKey): RootKey {
  return writeRoot(path, expand(control, 'role:gateway'))
}

/** The key for one purpose of a role. */
export function derive(root: RootKey, purpose: Purpose): DerivedKey {
  return new DerivedKey(purpose, createSecretKey(expand(root, `purpose:${purpose}`)))
}

/** 32 bytes for the Ed25519 key pair of one signing purpose; `signing-keys.ts` is the only caller. */
export function deriveSeed(root: RootKey, purpose: string): Buffer {
  return expand(root, `sign:${purpose}`)
}

/** The key under which tickets are sealed: the same in control and in the gateway. */
export function ticketsKey(role: 'control' | 'gateway', root: RootKey): DerivedKey {
  const gateway = role === 'gateway' ? root : new RootKey(createSecretKey(expand(root, 'role:gateway')))
  return derive(gateway, 'tickets')
}

/**
 * Encrypts and authenticates (AES-256-GCM, random nonce). The key's purpose and `context` are bound as additional data.
 * @param context what the value belongs to, a row's id for instance, so that it cannot be moved to another row.
 */
export function seal(key: DerivedKey, plain: string | Uint8Array, context: string): Buffer {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key.key, nonce, { authTagLength: tagBytes })
  cipher.setAAD(additional(key, context))
  const body = Buffer.concat([
    typeof plain === 'string' ? cipher.update(plain, 'utf8') : cipher.update(plain),
    cipher.final(),
  ])
  return Buffer.concat([Buffer.of(version), nonce, cipher.getAuthTag(), body])
}

/**
 * The inverse of `seal`.
 * @returns null when the value was sealed by another key, for another purpose or context, or was changed.
 */
export function open(key: DerivedKey, sealed: Uint8Array, context: string): Buffer | null {
  if (sealed.length < 1 + nonceBytes + tagBytes || sealed[0] !== version) return null
  const decipher = createDecipheriv('aes-256-gcm', key.key, sealed.subarray(1, 1 + nonceBytes), {
    authTagLength: tagBytes,
  })
  decipher.setAAD(additional(key, context))
  decipher.setAuthTag(sealed.subarray(1 + nonceBytes, 1 + nonceBytes + tagBytes))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(1 + nonceBytes + tagBytes)), decipher.final()])
  } catch {
    return null
  }
}

/**
 * The secret that a reference of the configuration names: `file:/path` (not readable by others) or `env:NAME`.
 * One newline at the end of a file is not part of the secret.
 */
export function secretRef(ref: string): Secret {
  const name = /^env:([A-Z_][A-Z0-9_]*)$/.exec(ref)?.[1]
  if (name !== undefined) {
    const value = process.env[name]
    if (!value)
      throw new SallyportError('bad_config', `the variable ${name}, which a setting names, is not set or empty`)
    return new Secret(value)
  }
  if (!ref.startsWith('file:/')) {
    throw new SallyportError('bad_config', 'a setting names a secret in an unknown way', {
      remedy: 'write file:/path or env:NAME',
    })
  }
  const text = readPrivate(ref.slice('file:'.length), 0o007, 'chmod o-rwx')
  const value = text.replace(/\r?\n$/, '')
  if (value === '') throw new SallyportError('bad_config', `the secret file ${ref.slice('file:'.length)} is empty`)
  return new Secret(value)
}

/** What a reference names where it is no secret (a certificate): no demand on the file's mode. */
export function publicRef(ref: string): string {
  return ref.startsWith('file:/') ? readPrivate(ref.slice('file:'.length), 0, '') : secretRef(ref).reveal()
}

function readPrivate(path: string, forbidden: number, mend: string): string {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    const stat = fstatSync(fd)
    if (!stat.isFile()) throw new Error('it is not a file')
    if ((stat.mode & forbidden) !== 0) {
      throw new Error(`its mode is ${(stat.mode & 0o777).toString(8)}, which is too open: run \`${mend} ${path}\``)
    }
    if (stat.size > maxRefBytes) throw new Error(`it is larger than ${maxRefBytes / 1024} KiB`)
    return readFileSync(fd, 'utf8')
  } catch (error) {
    throw new SallyportError('bad_config', `the file ${path} cannot be used: ${(error as Error).message}`)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function parseRoot(text: string, what: string): RootKey {
  const line = text.trimEnd()
  const bytes = line.startsWith(header) ? Buffer.from(line.slice(header.length), 'base64url') : Buffer.alloc(0)
  if (bytes.length !== rootBytes || bytes.toString('base64url') !== line.slice(header.length)) {
    throw new SallyportError('bad_config', `${what} holds no root key`, {
      remedy: 'make root keys with `sallyport keys`, or restore the file from your backup',
    })
  }
  return new RootKey(createSecretKey(bytes))
}

function writeRoot(path: string, bytes: Buffer): RootKey {
  let fd: number
  try {
    fd = openSync(path, 'wx', 0o600)
  } catch (error) {
    throw new SallyportError('bad_config', `the root key file ${path} cannot be made: ${(error as Error).message}`)
  }
  try {
    writeSync(fd, `${header}${bytes.toString('base64url')}\n`)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  return new RootKey(createSecretKey(bytes))
}

function expand(root: RootKey, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', root.key.export(), Buffer.alloc(0), `sallyport/${info}`, rootBytes))
}

function additional(key: DerivedKey, context: string): Buffer {
  return Buffer.from(`${key.purpose}\0${context}`, 'utf8')
}
