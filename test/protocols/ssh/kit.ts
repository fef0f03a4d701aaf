import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { type CertificateOption, certificateSigner } from '../../../src/protocols/ssh/wire/certificate.ts'
import { FieldReader, field, u32, u64 } from '../../../src/protocols/ssh/wire/fields.ts'
import { privateKeyFile } from '../../../src/protocols/ssh/wire/private-key.ts'
import { publicKeyBlob, publicKeyLine } from '../../../src/protocols/ssh/wire/public-key.ts'

export function freshKey(): { readonly key: KeyObject; readonly blob: Buffer } {
  const { privateKey } = generateKeyPairSync('ed25519')
  return { key: privateKey, blob: publicKeyBlob(privateKey) }
}

/** A key pair in files, as OpenSSH writes them; those of `ssh2.utils` lack a byte now and then. */
export function keyFiles(): { readonly private: string; readonly public: string } {
  const { key, blob } = freshKey()
  return { private: privateKeyFile(key).reveal(), public: publicKeyLine(blob) }
}

export function ed25519Signature(key: KeyObject, data: Buffer): Buffer {
  return Buffer.concat([field('ssh-ed25519'), field(sign(null, data, key))])
}

export interface Forgery {
  readonly type?: string
  readonly kind?: number
  readonly key_id?: string
  readonly principals?: readonly string[]
  readonly valid_after_s?: bigint
  readonly valid_before_s?: bigint
  readonly critical?: readonly CertificateOption[]
  readonly extensions?: readonly CertificateOption[]
  readonly reserved?: string
  readonly tail?: Buffer
  readonly signature?: (signed: Buffer) => Buffer
}

export const forgeryTime_s = 1_764_000_000

/** A certificate that our own authority would never sign, signed all the same. */
export function forge(publicKey: Buffer, ca: KeyObject, with_: Forgery = {}): Buffer {
  const fields = new FieldReader(publicKey)
  const type = fields.text()
  const options = (list: readonly CertificateOption[] = []) =>
    field(Buffer.concat(list.flatMap(({ name, data }) => [field(name), field(data === '' ? '' : field(data))])))
  const signed = Buffer.concat([
    field(with_.type ?? `${type}-cert-v01@openssh.com`),
    field(Buffer.alloc(32, 9)),
    fields.rest(),
    u64(1n),
    u32(with_.kind ?? 1),
    field(with_.key_id ?? 'forged'),
    field(Buffer.concat((with_.principals ?? ['deploy']).map(field))),
    u64(with_.valid_after_s ?? BigInt(forgeryTime_s - 60)),
    u64(with_.valid_before_s ?? BigInt(forgeryTime_s + 60)),
    options(with_.critical),
    options(with_.extensions),
    field(with_.reserved ?? ''),
    field(certificateSigner(ca).public_key_blob),
  ])
  const signature = with_.signature?.(signed) ?? ed25519Signature(ca, signed)
  return Buffer.concat([signed, field(signature), with_.tail ?? Buffer.alloc(0)])
}
