import type { AuthContext, Connection } from 'ssh2'
import type { Door, PresentedTicket } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { type SshLimits, sshLimits } from './limits.ts'
import { proves } from './tickets.ts'
import { type Certificate, isCertificateName } from './wire/certificate.ts'
import { checkUserCertificate } from './wire/certificate-check.ts'
import { shownKey } from './wire/proof.ts'
import { fingerprint } from './wire/public-key.ts'

const log = logger('ssh')
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
  readonly #limits: SshLimits
  #tries = 0
  #questions = 0
  #over = false

  constructor(
    door: Door,
    done: (login: LoggedIn) => void,
    giveUp: (words: string) => void,
    limits: SshLimits = sshLimits,
  ) {
    this.#limits = limits
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
    if (++this.#questions > this.#limits.questions) return this.#end('too many questions for one login')
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
    const shown = shownKey(context)
    if (shown === undefined) {
      // A question about a plain key of another kind is no failed login: agents hold many.
      const { signature, key } = context
      if (signature !== undefined) this.#door.failed('signature', { ticket_id: context.username.slice(0, 64) })
      else if (isCertificateName(key.algo)) this.#door.failed('certificate', { why: 'it cannot be read' })
      return this.#reject(context)
    }
    const { public_key_blob, certificate } = shown
    const id = certificate?.key_id ?? context.username
    const ticket = await this.#door.ticket(id)
    if (!proves(ticket?.verifiers['key'], public_key_blob, this.#door.pretence(id)) || ticket === undefined)
      return this.#reject(context)
    const why = certificate === null ? undefined : this.#whyNot(certificate, ticket)
    if (why !== undefined) {
      this.#door.failed('certificate', { ticket_id: ticket.id, why })
      return this.#reject(context)
    }
    if (!shown.proved) return context.accept() // only asked whether this key would do
    const proof = { proof: certificate === null ? 'key' : 'certificate', key: fingerprint(public_key_blob) }
    this.#accept(context, { ticket, proof })
  }

  #whyNot(certificate: Certificate, ticket: PresentedTicket): string | undefined {
    return checkUserCertificate(certificate, {
      cas: [Buffer.from(ticket.verifiers['ca'] ?? '', 'base64')],
      principal: ticket.id,
      address: this.#door.address,
      now_s: Date.now() / 1000,
    })
  }

  #accept(context: AuthContext, login: LoggedIn): void {
    this.#over = true
    context.accept()
    this.#done(login)
  }

  #reject(context: AuthContext): void {
    const { tries } = this.#limits
    if (++this.#tries < tries) {
      context.reject([...methods])
      return
    }
    this.#door.failed('tries', { ticket_id: context.username.slice(0, 64) })
    this.#end(`${tries} proofs that opened nothing; sign in at ${this.#door.origin} and run: sallyport connect NAME`)
  }

  #end(words: string): void {
    this.#over = true
    this.#giveUp(words)
  }
}
