import { type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'
import { FieldError, FieldReader, field, u32, u64 } from './fields.ts'
import { isKeyType, type KeyType, parsePublicKey, publicKeyBlob, readKey } from './public-key.ts'
import { verifySignature } from './signature.ts'

/**
 * OpenSSH certificates (OpenSSH PROTOCOL.certkeys). Layout: type, nonce, fields of the key, serial, kind, key id,
 * principals, window, critical options, extensions, reserved, key of the CA, signature over all before it.
 * INVARIANT: a `Certificate` exists only where the signature of the key that it names as its CA is right. Whether that key
 * is one that we trust is asked by `checkUserCertificate`.
 */
export interface Certificate {
  /** The name on the wire, `…-cert-v01@openssh.com`. */
  readonly type: string
  readonly key_type: KeyType
  /** The certified key as a plain key. */
  readonly public_key_blob: Buffer
  readonly serial: bigint
  readonly kind: 'user' | 'host'
  readonly key_id: string
  readonly principals: readonly string[]
  readonly valid_after_s: bigint
  readonly valid_before_s: bigint
  readonly critical: readonly CertificateOption[]
  readonly extensions: readonly CertificateOption[]
  readonly ca_blob: Buffer
}

/** `data` is what stands inside the inner string; empty for a flag. */
export interface CertificateOption {
  readonly name: string
  readonly data: string
}

export const maxCertificateBytes = 16 * 1024
const suffix = '-cert-v01@openssh.com'
const maxPrincipals = 32
const maxOptions = 32
const nonceBytes = 32
/** What has no value. Extensions that nobody here knows may carry anything: they grant nothing. */
const flags = /^(permit-|no-touch-required$|verify-required$)/
const controls = /[\p{Cc}\p{Zl}\p{Zp}]/u

/** Whether this is the name of a certificate's type or of a signature algorithm with one. */
export function isCertificateName(name: string): boolean {
  return name.endsWith(suffix)
}

/** The plain name: `rsa-sha2-256-cert-v01@openssh.com` → `rsa-sha2-256`, `sk-ssh-ed25519-cert-…` → `sk-ssh-ed25519@openssh.com`. */
export function plainName(name: string): string {
  const plain = name.slice(0, -suffix.length)
  return plain.startsWith('sk-') ? `${plain}@openssh.com` : plain
}

/** @throws FieldError on any doubt, a wrong signature among them. */
export function parseCertificate(blob: Buffer): Certificate {
  if (blob.length > maxCertificateBytes) throw new FieldError(`a certificate of ${blob.length} bytes`)
  const fields = new FieldReader(blob)
  const type = fields.text(64)
  const keyType = plainName(type)
  if (!isCertificateName(type) || !isKeyType(keyType))
    throw new FieldError(`a certificate of the type ${JSON.stringify(type)}`)
  fields.bytes(64) // the nonce
  const keyFrom = fields.at
  readKey(keyType, fields)
  const public_key_blob = Buffer.concat([field(keyType), blob.subarray(keyFrom, fields.at)])
  const serial = fields.u64()
  const kind = readKind(fields.u32())
  const key_id = oneLine(fields.text(1024))
  const principals = readPrincipals(fields.bytes())
  const valid_after_s = fields.u64()
  const valid_before_s = fields.u64()
  const critical = readOptions(fields.bytes())
  const extensions = readOptions(fields.bytes())
  if (fields.bytes().length > 0) throw new FieldError('a reserved field that is not empty')
  const ca_blob = fields.bytes()
  const signed = blob.subarray(0, fields.at)
  const signature = fields.bytes()
  fields.end()
  parsePublicKey(ca_blob)
  if (!verifySignature(ca_blob, new FieldReader(signature).text(64), signed, signature))
    throw new FieldError('a certificate that the key of its authority did not sign')
  const window = { valid_after_s, valid_before_s }
  return {
    type,
    key_type: keyType,
    public_key_blob,
    serial,
    kind,
    key_id,
    principals,
    ...window,
    critical,
    extensions,
    ca_blob,
  }
}

function readKind(kind: number): Certificate['kind'] {
  if (kind !== 1 && kind !== 2) throw new FieldError(`a certificate of the kind ${kind}`)
  return kind === 1 ? 'user' : 'host'
}

function readPrincipals(bytes: Buffer): string[] {
  const fields = new FieldReader(bytes)
  const names: string[] = []
  while (fields.left > 0) {
    if (names.length === maxPrincipals) throw new FieldError(`more than ${maxPrincipals} principals`)
    names.push(oneLine(fields.text()))
  }
  return names
}

function readOptions(bytes: Buffer): CertificateOption[] {
  const fields = new FieldReader(bytes)
  const options: CertificateOption[] = []
  let last: Buffer | undefined
  while (fields.left > 0) {
    if (options.length === maxOptions) throw new FieldError(`more than ${maxOptions} options`)
    const raw = fields.bytes(256)
    if (last !== undefined && Buffer.compare(last, raw) >= 0)
      throw new FieldError('options that are not in their order')
    last = raw
    options.push(readOption(raw, fields.bytes(8192)))
  }
  return options
}

function readOption(raw: Buffer, outer: Buffer): CertificateOption {
  const name = oneLine(new FieldReader(field(raw)).text())
  if (flags.test(name)) {
    if (outer.length > 0) throw new FieldError(`the option ${name} with a value`)
    return { name, data: '' }
  }
  if (outer.length === 0) return { name, data: '' }
  const inner = new FieldReader(outer)
  const data = inner.text(8192)
  inner.end()
  return { name, data }
}

function oneLine(text: string): string {
  if (controls.test(text)) throw new FieldError('a text with control characters')
  return text
}

/** A name that `sshd` and its list syntax cannot read as several names or as a pattern (SS5). */
export function isPlainPrincipal(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}$/.test(name)
}

/** The key of a certificate authority: its blob, and the raw Ed25519 signature over what it is given. */
export interface CertificateSigner {
  readonly public_key_blob: Buffer
  readonly sign: (data: Buffer) => Buffer
}

/** A signer with an Ed25519 private key. */
export function certificateSigner(key: KeyObject): CertificateSigner {
  if (key.asymmetricKeyType !== 'ed25519') throw new FieldError('only Ed25519 keys sign certificates here')
  return { public_key_blob: publicKeyBlob(key), sign: data => sign(null, data, key) }
}

export interface UserCertificateRequest {
  readonly public_key_blob: Buffer
  readonly key_id: string
  readonly principal: string
  readonly serial: bigint
  readonly valid_after_s: number
  readonly valid_before_s: number
  /** Addresses and ranges; absent or empty: no restriction. */
  readonly source_address?: readonly string[]
  /** Names without a value, such as `permit-pty`. */
  readonly extensions: readonly string[]
}

/** @throws FieldError for what must never be signed (SS5); such a certificate does not come into being. */
export function signUserCertificate(
  request: UserCertificateRequest,
  signer: CertificateSigner,
  nonce: Buffer = randomBytes(nonceBytes),
): Buffer {
  const { type } = parsePublicKey(request.public_key_blob)
  if (!isPlainPrincipal(request.principal)) throw new FieldError('a principal that is no plain name')
  if (oneLine(request.key_id) === '' || request.key_id.length > 512)
    throw new FieldError('a key id that is not one line')
  if (!(request.valid_after_s >= 0 && request.valid_before_s > request.valid_after_s))
    throw new FieldError('a window that never opens')
  const ranges = request.source_address ?? []
  if (!ranges.every(isRange)) throw new FieldError('a source address that is no address')
  for (const name of request.extensions)
    if (!flags.test(name)) throw new FieldError(`the extension ${name} is not known`)
  const critical = ranges.length === 0 ? [] : [{ name: 'source-address', data: ranges.join(',') }]
  const extensions = [...new Set(request.extensions)].sort().map(name => ({ name, data: '' }))
  const head = new FieldReader(request.public_key_blob)
  head.bytes()
  const signed = Buffer.concat([
    field(type.replace('@openssh.com', '') + suffix),
    field(nonce),
    head.rest(),
    u64(request.serial),
    u32(1),
    field(request.key_id),
    field(field(request.principal)),
    u64(BigInt(request.valid_after_s)),
    u64(BigInt(request.valid_before_s)),
    field(encodeOptions(critical)),
    field(encodeOptions(extensions)),
    field(''),
    field(signer.public_key_blob),
  ])
  const blob = Buffer.concat([signed, field(Buffer.concat([field('ssh-ed25519'), field(signer.sign(signed))]))])
  parseCertificate(blob)
  return blob
}

function encodeOptions(options: readonly CertificateOption[]): Buffer {
  return Buffer.concat(
    options.map(({ name, data }) => Buffer.concat([field(name), field(data === '' ? '' : field(data))])),
  )
}

function isRange(range: string): boolean {
  const [net, bits, ...rest] = range.split('/')
  const family = isIP(net!)
  if (family === 0 || rest.length > 0 || net!.includes('%')) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}
