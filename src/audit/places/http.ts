const longestCall_ms = 15_000
const maxAnswer = 64 * 1024

export interface Answer {
  readonly status: number
  readonly type: string
  readonly text: string
}

/** Posts and reads a bounded answer. @throws Error where there is none; nothing that was sent stands in it. */
export async function post(
  url: string,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Answer> {
  const { host } = new URL(url)
  try {
    const response = await fetch(url, {
      method: 'POST',
      redirect: 'error', // what is sent is for the host that was named
      headers,
      body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(longestCall_ms)]),
    })
    return { status: response.status, type: response.headers.get('content-type') ?? '', text: await bounded(response) }
  } catch (error) {
    const { cause, message } = error as { cause?: { code?: string }; message: string }
    throw new Error(`${host} did not answer: ${cause?.code ?? message}`, { cause: error })
  }
}

async function bounded(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of response.body ?? []) {
    size += (part as Uint8Array).length
    if (size > maxAnswer) throw new Error('the answer is too large')
    parts.push(part as Uint8Array)
  }
  return Buffer.concat(parts).toString('utf8')
}
