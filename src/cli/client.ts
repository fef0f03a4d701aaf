import { type ErrorCode, errorCodes, SallyportError } from '../errors.ts'
import { checkedOrigin } from './origin.ts'
import type { Profile } from './profile.ts'

/** Calls of the command line to the control plane's API. */
export interface Client {
  readonly origin: string
  get<Answer>(path: string): Promise<Answer>
  bytes(path: string): Promise<Buffer>
  /** A large answer, piece by piece. */
  stream(path: string): AsyncGenerator<Uint8Array>
  post<Answer>(path: string, body: unknown): Promise<Answer>
  delete<Answer>(path: string): Promise<Answer>
  /** The lines of a streamed answer (JSON Lines), as they come. */
  lines(path: string, signal?: AbortSignal): AsyncGenerator<string>
}

const maxLine = 64 * 1024 * 1024

/** A client for a signed-in profile. Refusals come as SallyportError with the API's own code, message and remedy. */
export function openClient(profile: Profile): Client {
  const origin = checkedOrigin(profile.origin)
  const send = async (method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> => {
    let response: Response
    try {
      response = await fetch(new URL(path, origin), {
        method,
        redirect: 'error',
        headers: {
          authorization: `Bearer ${profile.token.reveal()}`,
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      })
    } catch (cause) {
      if (signal?.aborted) throw cause
      throw new SallyportError('not_ready', `the control plane at ${origin} did not answer`, {
        remedy: 'check that it runs (`npm start`) and that the address is right',
        cause,
      })
    }
    if (!response.ok) throw await refusal(response)
    return response
  }
  const json = async <Answer>(response: Response): Promise<Answer> =>
    (response.status === 204 ? undefined : await response.json()) as Answer
  return {
    origin,
    get: async path => json(await send('GET', path)),
    bytes: async path => Buffer.from(await (await send('GET', path)).arrayBuffer()),
    async *stream(path) {
      const { body } = await send('GET', path)
      if (body !== null) yield* body as AsyncIterable<Uint8Array>
    },
    post: async (path, body) => json(await send('POST', path, body)),
    delete: async path => json(await send('DELETE', path)),
    async *lines(path, signal) {
      const response = await send('GET', path, undefined, signal)
      const decoder = new TextDecoder()
      let rest = ''
      for await (const chunk of response.body ?? []) {
        rest += decoder.decode(chunk, { stream: true })
        if (rest.length > maxLine)
          throw new SallyportError('internal', 'the control plane sent a line that is too long')
        const lines = rest.split('\n')
        rest = lines.pop()!
        yield* lines.filter(line => line !== '')
      }
      if (rest !== '') yield rest
    },
  }
}

async function refusal(response: Response): Promise<SallyportError> {
  const body = (await response.json().catch(() => null)) as { error?: Record<string, unknown> } | null
  const error = body?.error ?? {}
  const code =
    typeof error['code'] === 'string' && Object.hasOwn(errorCodes, error['code'])
      ? (error['code'] as ErrorCode)
      : 'internal'
  const { message, remedy, ...facts } = error
  return new SallyportError(
    code,
    typeof message === 'string' ? message : `the control plane answered ${response.status}`,
    {
      ...(typeof remedy === 'string' ? { remedy } : {}),
      facts,
    },
  )
}
