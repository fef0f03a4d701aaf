import type { KeyObject } from 'node:crypto'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { SallyportError } from '../errors.ts'
import type { Caller } from '../identity/facts.ts'
import { errorCodeOf, signCall } from './calls.ts'
import type { VerifyReport } from './reader.ts'

export interface ReplayClientOptions {
  /** Where the replay process listens; an internal address. */
  readonly host: string
  readonly port: number
  /** Control's private key for calls (`signingKeys(root, 'replay-calls')`). */
  readonly callKey: KeyObject
  readonly now: () => number
}

export interface FoundTexts {
  readonly items: readonly {
    readonly session_id: string
    readonly subject: { readonly id: string; readonly name: string }
    readonly own: boolean
    readonly resource: string
    readonly role: string
    readonly protocol: string
    readonly started_at_ms: number
    readonly at_ms: number
    readonly part: number
    readonly seq: number
    readonly conn: string
    readonly kind: string
    readonly excerpt: string
  }[]
  readonly next: number | null
}

const maxJson = 4 * 1024 * 1024

/** Control's side: it signs who asks for what, and passes on what the replay process answers. It decides nothing. */
export class ReplayClient {
  readonly #options: ReplayClientOptions

  constructor(options: ReplayClientOptions) {
    this.#options = options
  }

  /** The lines of a replay, as a stream: `outline` without the bytes of terminals, `container` sealed. @throws SallyportError with the replay process's own refusal. */
  async events(
    caller: Caller,
    sessionId: string,
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
    what: 'events' | 'outline' | 'container' = 'events',
  ): Promise<IncomingMessage> {
    const answer = await this.#call(caller, `/sessions/${sessionId}/${what}?${new URLSearchParams(query)}`, signal)
    if (answer.statusCode !== 200) throw await refusal(answer)
    return answer
  }

  /** What words find in the recordings that this caller may open. */
  async search(caller: Caller, query: Readonly<Record<string, string>>): Promise<FoundTexts> {
    const answer = await this.#call(caller, `/search?${new URLSearchParams(query)}`)
    if (answer.statusCode !== 200) throw await refusal(answer)
    return JSON.parse(await body(answer)) as FoundTexts
  }

  async verify(caller: Caller, sessionId: string): Promise<VerifyReport> {
    const answer = await this.#call(caller, `/sessions/${sessionId}/verify`)
    if (answer.statusCode !== 200) throw await refusal(answer)
    return JSON.parse(await body(answer)) as VerifyReport
  }

  #call(caller: Caller, path: string, signal?: AbortSignal): Promise<IncomingMessage> {
    const { host, port, callKey, now } = this.#options
    const { id: subject_id, on_behalf_of, token } = caller.facts
    const authorization = signCall(
      callKey,
      { method: 'GET', path, subject_id, on_behalf_of, token, via: caller.via },
      now(),
    )
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        { host, port, path, headers: { authorization }, agent: false, ...(signal === undefined ? {} : { signal }) },
        resolve,
      )
      request.on('error', cause => {
        reject(
          new SallyportError('not_ready', 'the replay process did not answer', {
            remedy: 'ask an operator to look at the replay process',
            cause,
          }),
        )
      })
      request.end()
    })
  }
}

async function refusal(answer: IncomingMessage): Promise<SallyportError> {
  const parsed = JSON.parse(await body(answer).catch(() => '{}')) as { error?: Record<string, unknown> }
  const { code, message, remedy, ...facts } = parsed.error ?? {}
  return new SallyportError(
    errorCodeOf(code),
    typeof message === 'string' ? message : `the replay process answered ${answer.statusCode}`,
    {
      ...(typeof remedy === 'string' ? { remedy } : {}),
      facts,
    },
  )
}

async function body(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxJson) throw new SallyportError('internal', 'the replay process answered too much')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
