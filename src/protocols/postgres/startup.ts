import { Body, BodyError, frame, int32, S } from './messages.ts'

/**
 * What a client says before it is anybody (PostgreSQL manual, 55.2.1, 55.2.10, 55.7): SSLRequest, GSSENCRequest,
 * CancelRequest, StartupMessage. State machine without input or output.
 */
export type StartupEvent =
  | { readonly kind: 'upgrade' } // answer 'S', then TLS on this socket
  | { readonly kind: 'decline' } // answer 'N', then listen again
  | { readonly kind: 'startup'; readonly startup: Startup; readonly rest: Buffer }
  | { readonly kind: 'cancel'; readonly connection: number; readonly key: Buffer }
  | { readonly kind: 'close'; readonly why: string } // no answer: what came is not this protocol, or was stuffed
  | { readonly kind: 'refuse'; readonly sqlstate: string; readonly message: string; readonly hint: string }

export interface Startup {
  readonly user: string
  readonly database: string
  readonly application: string
  /** Session settings that the target gets, already checked. */
  readonly settings: Readonly<Record<string, string>>
  /** NegotiateProtocolVersion where the client asked for more than 3.0. */
  readonly negotiate: Buffer | undefined
}

const maxStartup = 10_000
const sslRequest = 80_877_103
const gssRequest = 80_877_104
const cancelRequest = 80_877_102

/** Settings that a client may choose at start, each with the shape of its value. All else is refused by name (PG7). */
const settings: Record<string, { readonly name: string; readonly value: RegExp }> = {
  datestyle: { name: 'DateStyle', value: /^[A-Za-z]{2,10}(, ?[A-Za-z]{2,14})?$/ },
  timezone: { name: 'TimeZone', value: /^[A-Za-z0-9_+\-/:]{1,64}$/ },
  intervalstyle: { name: 'IntervalStyle', value: /^[a-z_]{1,20}$/ },
  extra_float_digits: { name: 'extra_float_digits', value: /^-?\d{1,2}$/ },
  statement_timeout: { name: 'statement_timeout', value: /^\d{1,9}$/ },
  lock_timeout: { name: 'lock_timeout', value: /^\d{1,9}$/ },
  idle_in_transaction_session_timeout: { name: 'idle_in_transaction_session_timeout', value: /^\d{1,9}$/ },
}

export class Negotiation {
  #held: Buffer = Buffer.alloc(0)
  #encrypted = false
  #asked = 0

  /** @param chunk what came; one request at a time, so whatever lies behind one that waits for an answer was stuffed (PG8). */
  step(chunk: Buffer): StartupEvent | undefined {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    const held = this.#held
    if (held.length < 4) return undefined
    const length = held.readInt32BE(0)
    if (length < 8 || length > maxStartup) return { kind: 'close', why: `a first message of ${length} bytes` }
    if (held.length < length) return undefined
    const rest = held.subarray(length)
    this.#held = Buffer.alloc(0)
    try {
      return this.#request(new Body(held, 4, length), rest)
    } catch (error) {
      if (!(error instanceof BodyError)) throw error
      return refuse('08P01', `the startup message is malformed: ${error.message}`, 'use a PostgreSQL client')
    }
  }

  #request(body: Body, rest: Buffer): StartupEvent {
    const version = body.int32()
    if (version === sslRequest || version === gssRequest) {
      body.done()
      if (rest.length > 0) return { kind: 'close', why: 'bytes stuffed behind a request for encryption' }
      if (this.#encrypted || ++this.#asked > 2) return { kind: 'close', why: 'encryption asked for again' }
      if (version === gssRequest) return { kind: 'decline' }
      this.#encrypted = true
      return { kind: 'upgrade' }
    }
    if (version === cancelRequest) {
      const connection = body.int32()
      const key = Buffer.from(body.rest())
      if (key.length < 4 || key.length > 32) return { kind: 'close', why: 'a cancel key of an unknown length' }
      return { kind: 'cancel', connection, key }
    }
    const major = version >>> 16
    if (major !== 3) {
      return refuse(
        '0A000',
        `protocol version ${major}.${version & 0xffff} is not supported`,
        'use a client that speaks version 3.0',
      )
    }
    return readParameters(body, version & 0xffff, rest)
  }
}

function readParameters(body: Body, minor: number, rest: Buffer): StartupEvent {
  let user = ''
  let database = ''
  let application = ''
  const accepted: Record<string, string> = {}
  const unknown: string[] = []
  const seen = new Set<string>()
  for (;;) {
    const name = body.text()
    if (name === '') break
    const value = body.text()
    const key = name.toLowerCase()
    if (seen.has(key)) return refuse('08P01', `the startup parameter ${shown(name)} comes twice`, 'send it once')
    seen.add(key)
    const setting = Object.hasOwn(settings, key) ? settings[key] : undefined
    if (name.startsWith('_pq_.')) unknown.push(name)
    else if (key === 'user') user = value
    else if (key === 'database') database = value
    else if (key === 'application_name') application = printable(value)
    else if (key === 'client_encoding') {
      if (!/^'?(utf-?8|unicode)'?$/i.test(value)) {
        return refuse(
          '22023',
          `client_encoding ${shown(value)} is refused: this gateway speaks UTF8 only`,
          'set PGCLIENTENCODING=UTF8',
        )
      }
    } else if (setting !== undefined) {
      if (!setting.value.test(value))
        return refuse('22023', `the value of the startup parameter ${setting.name} is refused`, 'leave it out')
      accepted[setting.name] = value
    } else if (key === 'options' && value === '') {
      // some drivers always send it
    } else {
      return refuse(
        '42501',
        `the startup parameter ${shown(name)} is refused`,
        key === 'options' ? 'unset PGOPTIONS; use SET after connecting, where policy allows it' : 'leave it out',
      )
    }
  }
  body.done()
  if (user === '') return refuse('28000', 'no user name was given', 'give the ticket id as user name')
  const negotiate =
    minor > 0 || unknown.length > 0
      ? frame(S.negotiateVersion, int32(0), int32(unknown.length), ...unknown.flatMap(name => [name, 0]))
      : undefined
  return { kind: 'startup', startup: { user, database, application, settings: accepted, negotiate }, rest }
}

function refuse(sqlstate: string, message: string, hint: string): StartupEvent {
  return { kind: 'refuse', sqlstate, message, hint }
}

function shown(text: string): string {
  return `"${printable(text)}"`
}

/** Text that may stand in a log and in the target's `application_name`. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 63)
}

/** The StartupMessage that the target gets. */
export function startupMessage(parameters: Readonly<Record<string, string>>): Buffer {
  const pairs = Buffer.concat(Object.entries(parameters).map(([name, value]) => Buffer.from(`${name}\0${value}\0`)))
  return Buffer.concat([int32(pairs.length + 9), int32(196_608), pairs, Buffer.of(0)])
}
