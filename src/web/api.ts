import { useCallback, useEffect, useState } from 'react'

/** What the API answers when it refuses: which rule, where it stands, and what to do next. */
export interface ApiError {
  readonly status: number
  readonly code: string
  readonly message: string
  readonly remedy: string
  readonly rule?: string
  readonly at?: string
  readonly decision_id?: string
}

export class ApiFailure extends Error {
  readonly error: ApiError
  constructor(error: ApiError) {
    super(error.message)
    this.error = error
  }
}

/** Calls the control plane's API. @throws ApiFailure with the refusal's own words. */
export async function call<Answer>(method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<Answer> {
  let response: Response
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  } catch {
    throw new ApiFailure({
      status: 0,
      code: 'unreachable',
      message: 'the control plane did not answer',
      remedy: 'check your connection, then try again',
    })
  }
  if (response.status === 204) return undefined as Answer
  const answer: unknown = await response.json().catch(() => null)
  if (!response.ok) {
    const error = (answer as { error?: Partial<ApiError> } | null)?.error
    throw new ApiFailure({
      ...error,
      status: response.status,
      code: error?.code ?? 'internal',
      message: error?.message ?? `the control plane answered ${response.status}`,
      remedy: error?.remedy ?? 'try again',
    })
  }
  return answer as Answer
}

export interface Loaded<Value> {
  readonly value: Value | undefined
  readonly error: ApiError | undefined
  readonly reload: () => void
}

/** Loads a resource and keeps it fresh: again every `everyMs` while the page is visible. */
export function useLoaded<Value>(path: string, everyMs = 0): Loaded<Value> {
  const [value, setValue] = useState<Value>()
  const [error, setError] = useState<ApiError>()
  const [turn, setTurn] = useState(0)
  const reload = useCallback(() => setTurn(n => n + 1), [])
  // biome-ignore lint/correctness/useExhaustiveDependencies: `turn` is what asks for another load
  useEffect(() => {
    let live = true
    const load = async () => {
      try {
        const got = await call<Value>('GET', path)
        if (!live) return
        setValue(got)
        setError(undefined)
      } catch (failure) {
        if (live)
          setError(
            failure instanceof ApiFailure
              ? failure.error
              : { status: 0, code: 'internal', message: String(failure), remedy: 'reload the page' },
          )
      }
    }
    void load()
    const timer =
      everyMs > 0 ? setInterval(() => document.visibilityState === 'visible' && void load(), everyMs) : undefined
    return () => {
      live = false
      clearInterval(timer)
    }
  }, [path, everyMs, turn])
  return { value, error, reload }
}

export interface Acting {
  /** What is under way: its button turns. */
  readonly busy: string | undefined
  readonly refusal: ApiError | undefined
  /** Does one thing; a refusal is shown until the next. @returns when it is over, whatever came of it. */
  readonly act: (name: string, run: () => Promise<unknown>) => Promise<void>
}

/** What a person does by a click: one thing at a time, and why it was refused. */
export function useAct(): Acting {
  const [busy, setBusy] = useState<string>()
  const [refusal, setRefusal] = useState<ApiError>()
  const act = useCallback(async (name: string, run: () => Promise<unknown>) => {
    setBusy(name)
    setRefusal(undefined)
    try {
      await run()
    } catch (failure) {
      if (!(failure instanceof ApiFailure)) throw failure
      setRefusal(failure.error)
    } finally {
      setBusy(undefined)
    }
  }, [])
  return { busy, refusal, act }
}
