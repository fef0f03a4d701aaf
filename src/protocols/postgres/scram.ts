import { createHash, createHmac, pbkdf2, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { Secret } from '../../secret.ts'

/** SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides, without channel binding. Parsing is strict: no extension is accepted. */
export interface Verifier {
  readonly iterations: number
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

export class ScramError extends Error {
  override readonly name = 'ScramError'
}

export const mechanism = 'SCRAM-SHA-256'
const maxMessage = 2048
/** A hostile target must not make us compute for minutes. */
const maxIterations = 1_000_000
const derive = promisify(pbkdf2)

const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text, 'utf8').digest()
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest()
const xor = (a: Buffer, b: Buffer) => Buffer.from(a.map((byte, i) => byte ^ b[i]!))

/** A verifier of a password, as PostgreSQL stores it. */
export function makeVerifier(password: Secret, salt: Buffer = randomBytes(16), iterations = 4096): Verifier {
  const salted = pbkdf2Sync(normalize(password.reveal()), salt, iterations, 32, 'sha256')
  return { iterations, salt, storedKey: sha256(hmac(salted, 'Client Key')), serverKey: hmac(salted, 'Server Key') }
}

/** A verifier for a user that does not exist: the exchange takes the same steps and fails at its end. */
export function mockVerifier(pretence: Buffer): Verifier {
  return {
    iterations: 4096,
    salt: pretence.subarray(0, 16),
    storedKey: sha256(pretence),
    serverKey: sha256(randomBytes(32)),
  }
}

export function formatVerifier(v: Verifier): string {
  const b64 = (bytes: Buffer) => bytes.toString('base64')
  return `${mechanism}$${v.iterations}:${b64(v.salt)}$${b64(v.storedKey)}:${b64(v.serverKey)}`
}

export function parseVerifier(text: string): Verifier | undefined {
  const match = /^SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})$/.exec(text)
  if (match === null) return undefined
  const [iterations, salt, storedKey, serverKey] = match.slice(1) as [string, string, string, string]
  const decode = (b64: string) => Buffer.from(b64, 'base64')
  return {
    iterations: Number(iterations),
    salt: decode(salt),
    storedKey: decode(storedKey),
    serverKey: decode(serverKey),
  }
}

/** The server's side of one exchange. */
export class ScramServer {
  readonly #verifier: Verifier
  readonly #nonce: string
  #gs2 = ''
  #clientBare = ''
  #serverFirst = ''

  constructor(verifier: Verifier, nonce: string = randomBytes(18).toString('base64')) {
    this.#verifier = verifier
    this.#nonce = nonce
  }

  /** client-first-message → server-first-message. @throws ScramError */
  first(message: string): string {
    // gs2-header "n,," or "y,,": no channel binding, no other identity; the user is that of the startup packet.
    const match = /^([ny],,)(n=[^,]*,r=([\x21-\x2b\x2d-\x7e]{8,512}))$/.exec(bounded(message))
    if (match === null) {
      throw new ScramError(
        message.startsWith('p=') ? 'channel binding was not offered' : 'the client-first-message is malformed',
      )
    }
    this.#gs2 = match[1]!
    this.#clientBare = match[2]!
    const { salt, iterations } = this.#verifier
    this.#serverFirst = `r=${match[3]}${this.#nonce},s=${salt.toString('base64')},i=${iterations}`
    return this.#serverFirst
  }

  /** client-final-message → server-final-message, or `undefined` where the proof is wrong. @throws ScramError */
  final(message: string): string | undefined {
    const match = /^(c=([A-Za-z0-9+/=]{1,64}),r=([\x21-\x2b\x2d-\x7e]{8,1024})),p=([A-Za-z0-9+/]{43}=)$/.exec(
      bounded(message),
    )
    if (match === null || this.#serverFirst === '') throw new ScramError('the client-final-message is malformed')
    const [, withoutProof, binding, nonce, proof] = match as unknown as [string, string, string, string, string]
    if (binding !== Buffer.from(this.#gs2).toString('base64'))
      throw new ScramError('the channel binding changed midway')
    const expected = this.#serverFirst.slice(2, this.#serverFirst.indexOf(','))
    if (nonce !== expected) throw new ScramError('the nonce changed midway')
    const auth = `${this.#clientBare},${this.#serverFirst},${withoutProof}`
    const clientKey = xor(Buffer.from(proof, 'base64'), hmac(this.#verifier.storedKey, auth))
    if (!timingSafeEqual(sha256(clientKey), this.#verifier.storedKey)) return undefined
    return `v=${hmac(this.#verifier.serverKey, auth).toString('base64')}`
  }
}

/** The client's side of one exchange, towards the target. */
export class ScramClient {
  readonly #password: Secret
  readonly #bare: string
  #signature = Buffer.alloc(0)

  constructor(password: Secret, nonce: string = randomBytes(18).toString('base64')) {
    this.#password = password
    this.#bare = `n=,r=${nonce}`
  }

  first(): string {
    return `n,,${this.#bare}`
  }

  /** server-first-message → client-final-message. @throws ScramError */
  async final(serverFirst: string): Promise<string> {
    const match = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=(\d{1,7})$/.exec(bounded(serverFirst))
    const ours = this.#bare.slice('n=,r='.length)
    if (match === null || !match[1]!.startsWith(ours) || match[1]!.length <= ours.length) {
      throw new ScramError("the target's server-first-message is malformed")
    }
    const iterations = Number(match[3])
    if (iterations < 1 || iterations > maxIterations)
      throw new ScramError(`the target asks for ${iterations} iterations`)
    const salt = Buffer.from(match[2]!, 'base64')
    const salted = await derive(normalize(this.#password.reveal()), salt, iterations, 32, 'sha256')
    const clientKey = hmac(salted, 'Client Key')
    const withoutProof = `c=biws,r=${match[1]}`
    const auth = `${this.#bare},${serverFirst},${withoutProof}`
    this.#signature = hmac(hmac(salted, 'Server Key'), auth)
    return `${withoutProof},p=${xor(clientKey, hmac(sha256(clientKey), auth)).toString('base64')}`
  }

  /** Whether the target knows the password's verifier too: without this, anybody could be the target. */
  accepts(serverFinal: string): boolean {
    const match = /^v=([A-Za-z0-9+/]{43}=)$/.exec(serverFinal)
    return (
      match !== null &&
      this.#signature.length === 32 &&
      timingSafeEqual(Buffer.from(match[1]!, 'base64'), this.#signature)
    )
  }
}

function bounded(message: string): string {
  if (message.length > maxMessage) throw new ScramError('the message is too long')
  return message
}

/** SASLprep (RFC 4013) as far as PostgreSQL's own: spaces mapped, invisible characters dropped, NFKC. ASCII is as it is. */
function normalize(password: string): string {
  if (/^[\x20-\x7e]*$/.test(password)) return password
  return password
    .replace(/[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g, ' ')
    .replace(/\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/g, '')
    .normalize('NFKC')
}
