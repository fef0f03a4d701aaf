import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { createSecureContext, type SecureContext } from 'node:tls'
import * as x509 from '@peculiar/x509'
import { SallyportError } from '../errors.ts'
import { publicRef, secretRef } from '../keys.ts'
import { logger } from '../log.ts'

const log = logger('gateway')
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const dayMs = 86_400_000
const caDays = 3650
const serverDays = 90
const renewDays = 30

export interface CertificateOptions {
  /** Folder for what is made here (0700); shared by the workers of one machine. */
  readonly folder: string
  /** Names and addresses that clients dial. */
  readonly hosts: readonly string[]
  readonly deployment: string
  /** Given certificates (`gateway.tls`) take the place of our own. */
  readonly given?: { readonly key: string; readonly cert: string; readonly ca: string } | undefined
}

/**
 * The listeners' certificate. Without a given one: a CA made on the first start and a server certificate signed by it,
 * renewed 30 days before its end. Private keys are ECDSA P-256, in files of mode 0600.
 */
export class CertificateAuthority implements Disposable {
  readonly #options: CertificateOptions
  #context: SecureContext
  #ca: string
  #timer: NodeJS.Timeout | undefined

  private constructor(options: CertificateOptions, first: Loaded) {
    this.#options = options
    this.#context = first.context
    this.#ca = first.ca
  }

  static async open(options: CertificateOptions): Promise<CertificateAuthority> {
    const authority = new CertificateAuthority(options, await load(options))
    authority.#timer = setInterval(() => void authority.#renew(), dayMs / 24)
    authority.#timer.unref()
    return authority
  }

  /** Always the newest certificate. */
  context(): SecureContext {
    return this.#context
  }

  /** PEM of the CA that clients must trust. */
  get ca(): string {
    return this.#ca
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  async #renew(): Promise<void> {
    try {
      const loaded = await load(this.#options)
      this.#context = loaded.context
      this.#ca = loaded.ca
    } catch (error) {
      log.error({ err: error }, 'the listeners go on with their present certificate: no new one could be loaded')
    }
  }
}

interface Loaded {
  readonly context: SecureContext
  readonly ca: string
}

async function load(options: CertificateOptions): Promise<Loaded> {
  if (options.given !== undefined) {
    const { key, cert, ca } = options.given
    return contextOf(secretRef(key).reveal(), publicRef(cert), publicRef(ca), 'gateway.tls')
  }
  const { folder } = options
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const ca = await ensureCa(folder, options.deployment)
  const server = await ensureServer(folder, ca, options.hosts)
  return contextOf(server.key, server.cert, ca.cert, folder)
}

function contextOf(key: string, cert: string, ca: string, where: string): Loaded {
  try {
    return { context: createSecureContext({ key, cert, minVersion: 'TLSv1.2' }), ca }
  } catch (error) {
    throw new SallyportError('bad_config', `the certificate of ${where} cannot be used: ${(error as Error).message}`)
  }
}

interface Pair {
  readonly key: string
  readonly cert: string
}

async function ensureCa(folder: string, deployment: string): Promise<Pair> {
  const existing = readPair(folder, 'ca')
  if (existing !== undefined) return existing
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: [{ CN: [`Sallyport ${deployment} CA`] }],
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Date.now() + caDays * dayMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  const pair = { key: await privatePem(keys.privateKey), cert: cert.toString('pem') }
  // Workers start together: the first one's CA counts.
  return writePair(folder, 'ca', pair, linkSync) ? pair : readPair(folder, 'ca')!
}

async function ensureServer(folder: string, ca: Pair, hosts: readonly string[]): Promise<Pair> {
  const existing = readPair(folder, 'server')
  if (existing !== undefined && (await isGood(existing, ca, hosts))) return existing
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const issuer = new x509.X509Certificate(ca.cert)
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [{ CN: [hosts[0] ?? 'sallyport'] }],
    issuer: issuer.subjectName,
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Math.min(Date.now() + serverDays * dayMs, issuer.notAfter.getTime())),
    publicKey: keys.publicKey,
    signingKey: await importPrivate(ca.key),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        hosts.map(host => ({ type: isIP(host) ? ('ip' as const) : ('dns' as const), value: host })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  log.info({ hosts, until: cert.notAfter.toISOString() }, 'made a certificate for the listeners')
  const pair = { key: await privatePem(keys.privateKey), cert: cert.toString('pem') }
  writePair(folder, 'server', pair, renameSync)
  return pair
}

async function isGood(server: Pair, ca: Pair, hosts: readonly string[]): Promise<boolean> {
  const cert = new x509.X509Certificate(server.cert)
  if (cert.notAfter.getTime() - Date.now() < renewDays * dayMs) return false
  const { publicKey } = new x509.X509Certificate(ca.cert)
  if (!(await cert.verify({ publicKey, signatureOnly: true }))) return false
  const names = new Set(cert.getExtension(x509.SubjectAlternativeNameExtension)?.names.items.map(n => n.value))
  return hosts.every(host => names.has(host))
}

function readPair(folder: string, name: string): Pair | undefined {
  const path = join(folder, `${name}.pem`)
  if (!existsSync(path)) return undefined
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new SallyportError('bad_config', `${path} holds a private key and is open to others`, {
      remedy: `chmod 600 ${path}`,
    })
  }
  const text = readFileSync(path, 'utf8')
  const [key] = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----/.exec(text) ?? []
  const [cert] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text) ?? []
  if (key === undefined || cert === undefined) {
    throw new SallyportError('bad_config', `${path} does not hold a key and a certificate`, {
      remedy: 'restore it, or remove it: a new one is made at the next start, and clients need the new CA then',
    })
  }
  return { key, cert }
}

/**
 * Key and certificate in one file, so that no reader ever sees a pair that does not belong together.
 * @returns false when `place` found a file there.
 */
function writePair(folder: string, name: string, pair: Pair, place: (from: string, to: string) => void): boolean {
  const path = join(folder, `${name}.pem`)
  const made = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`
  const fd = openSync(made, 'wx', 0o600)
  try {
    writeSync(fd, `${pair.key}\n${pair.cert}\n`)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  try {
    place(made, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return false
  } finally {
    rmSync(made, { force: true })
  }
}

function serial(): string {
  return '01' + randomBytes(15).toString('hex')
}

async function privatePem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key)
  return x509.PemConverter.encode(der, 'PRIVATE KEY')
}

function importPrivate(pem: string): Promise<webcrypto.CryptoKey> {
  const der = x509.PemConverter.decode(pem)[0]!
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
}
