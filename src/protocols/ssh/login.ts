import type { AuthContext, Connection } from 'ssh2'
import type { Door, PresentedTicket } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { proves } from './tickets.ts'
import { isCertificateName, parseCertificate, plainName } from './wire/certificate.ts'
import { checkUserCertificate } from './wire/certificate-check.ts'
import { field } from './wire/fields.ts'
import { fingerprint } from './wire/public-key.ts'
import { verifySignature } from './wire/signature.ts'

const log = logger('ssh')
const mostTries = 6
const methods = ['publickey', 'password', 'keyboard-interactive'] as const

/** Whose ticket it is, and how that was proved. */
export interface LoggedIn {
  readonly ticket: PresentedTicket
  readonly proof: Record<string, string>
}

/** One connection's login: by certificate, key or secret of a ticket, and no more tries than a person needs. */
export class Login {
  readonly #door: Door
  readonly #done: (login: LoggedIn) => void
  readonly #giveUp: (words: string) => void
  #tries = 0
  #over = false

  constructor(door: Door, done: (login: LoggedIn) => void, giveUp: (words: string) => void) {
    this.#door = door
    this.#done = done
    this.#giveUp = giveUp
  }

  attach(connection: Connection): void {
    connection.on('authentication', context => {
      this.#judge(context).catch(error => {
        log.error({ err: error }, 'a login failed with a fault')
        this.#end('the gateway failed to look at this login')
      })
    })
  }

  async #judge(context: AuthContext): Promise<void> {
    if (this.#over) return
    switch (context.method) {
      case 'none':
        return context.reject([...methods])
      case 'password':
        return await this.#password(context, context.password)
      case 'publickey':
        return await this.#key(context)
      case 'keyboard-interactive':
        return context.prompt(
          [{ prompt: 'One-time password: ', echo: false }],
          'Sallyport',
          `Sallyport does not know this key. Sign in at ${this.#door.origin} and run: sallyport connect NAME`,
          ([answer = '']) => {
            this.#password(context, answer).catch(error => {
              log.error({ err: error }, 'a login failed with a fault')
              this.#end('the gateway failed to look at this login')
            })
          },
        )
      default:
        return this.#reject(context)
    }
  }

  async #password(context: AuthContext, password: string): Promise<void> {
    const id = context.username
    const ticket = await this.#door.ticket(id)
    if (!proves(ticket?.verifiers['password'], password, this.#door.pretence(id)) || ticket === undefined) {
      this.#door.failed('secret', { ticket_id: id.slice(0, 64) })
      return this.#reject(context)
    }
    this.#accept(context, { ticket, proof: { proof: 'password' } })
  }

  /** INVARIANT: rights come from the key that signed this very request, and from no key that was asked about before (SS2). */
  async #key(context: Extract<AuthContext, { method: 'publickey' }>): Promise<void> {
    const { algo, data } = context.key
    const shown = isCertificateName(algo) ? this.#certificate(algo, data) : plainKey(algo, data)
    const id = shown?.ticket_id ?? context.username
    const ticket = shown === undefined ? undefined : await this.#door.ticket(id)
    if (shown === undefined || ticket === undefined) return this.#reject(context)
    if (!proves(ticket.verifiers['key'], shown.key, this.#door.pretence(id))) return this.#reject(context)
    const why = shown.check?.(ticket)
    if (why !== undefined) {
      this.#door.failed('certificate', { ticket_id: ticket.id, why })
      return this.#reject(context)
    }
    if (context.signature === undefined) return context.accept() // only asked whether this key would do
    // ssh2 unwraps signatures of plain keys and leaves those of certificates as they came.
    const signature =
      shown.check === undefined ? Buffer.concat([field(shown.algorithm), field(context.signature)]) : context.signature
    if (context.blob === undefined || verifySignature(shown.key, shown.algorithm, context.blob, signature) !== true) {
      this.#door.failed('signature', { ticket_id: ticket.id })
      return this.#reject(context)
    }
    const proof = { proof: shown.check === undefined ? 'key' : 'certificate', key: fingerprint(shown.key) }
    this.#accept(context, { ticket, proof })
  }

  #certificate(algo: string, data: Buffer): Shown | undefined {
    try {
      const certificate = parseCertificate(data)
      if (certificate.type !== algo) return undefined
      return {
        ticket_id: certificate.key_id,
        key: certificate.public_key_blob,
        algorithm: plainName(algo),
        check: ticket =>
          checkUserCertificate(certificate, {
            cas: [Buffer.from(ticket.verifiers['ca'] ?? '', 'base64')],
            principal: ticket.id,
            address: this.#door.address,
            now_s: Date.now() / 1000,
          }),
      }
    } catch (error) {
      this.#door.failed('certificate', { why: (error as Error).message })
      return undefined
    }
  }

  #accept(context: AuthContext, login: LoggedIn): void {
    this.#over = true
    context.accept()
    this.#done(login)
  }

  #reject(context: AuthContext): void {
    if (++this.#tries < mostTries) {
      context.reject([...methods])
      return
    }
    this.#door.failed('tries', { ticket_id: context.username.slice(0, 64) })
    this.#end(
      `${mostTries} proofs that opened nothing; sign in at ${this.#door.origin} and run: sallyport connect NAME`,
    )
  }

  #end(words: string): void {
    this.#over = true
    this.#giveUp(words)
  }
}

interface Shown {
  readonly ticket_id: string | undefined
  readonly key: Buffer
  readonly algorithm: string
  readonly check?: (ticket: PresentedTicket) => string | undefined
}

/** Tickets are bound to Ed25519 keys only: whoever shows another kind has not got one (SS1). */
function plainKey(algo: string, data: Buffer): Shown | undefined {
  return algo === 'ssh-ed25519' ? { ticket_id: undefined, key: data, algorithm: algo } : undefined
}
