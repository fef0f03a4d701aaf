import { ApiFailure } from '../api.ts'

/** JSON Lines of a streamed answer, as they come. @throws ApiFailure with the refusal's own words. */
export async function* jsonLines<Line>(path: string, signal: AbortSignal): AsyncGenerator<Line> {
  const response = await fetch(path, { credentials: 'same-origin', signal })
  if (!response.ok || response.body === null) {
    const answer = (await response.json().catch(() => null)) as { error?: ApiFailure['error'] } | null
    const {
      code = 'internal',
      message = `the control plane answered ${response.status}`,
      remedy = 'try again',
      ...more
    } = answer?.error ?? {}
    throw new ApiFailure({ ...more, status: response.status, code, message, remedy })
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    const lines = (rest + (value ?? '')).split('\n')
    rest = done ? '' : lines.pop()!
    for (const line of lines) if (line !== '') yield JSON.parse(line) as Line
    if (done) return
  }
}
