import type { Secret } from '../../../secret.ts'

const longestCall_ms = 15_000

/** Posts one delivery. @throws Error that says what came back, without what was sent and without credentials. */
export async function post(
  url: string,
  body: Uint8Array,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  let response: Response
  try {
    response = await fetch(url, {
      method: 'POST',
      redirect: 'error', // a credential is for the host that was named
      headers,
      body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(longestCall_ms)]),
    })
  } catch (error) {
    throw new Error(`${new URL(url).host} did not take them: ${why(error)}`, { cause: error })
  }
  await response.body?.cancel()
  if (!response.ok) throw new Error(`${new URL(url).host} answered ${response.status}`)
}

export function bearer(token: Secret | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }
}

function why(error: unknown): string {
  const { cause, message } = error as { cause?: { code?: string }; message: string }
  return cause?.code ?? message
}
