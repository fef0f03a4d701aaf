import { useEffect, useState } from 'react'
import { type ApiError, ApiFailure } from '../api.ts'
import type { ReplayEvent } from './event-text.ts'
import { jsonLines } from './lines.ts'
import type { Cast, Frame } from './screen.tsx'

/** More than this a page does not hold: the rest is in the exports. */
const mostEvents = 100_000
const mostFrames = 500_000

export interface Loaded {
  readonly head: ReplayEvent | undefined
  readonly events: readonly ReplayEvent[]
  readonly end: ReplayEvent | undefined
  readonly error: ApiError | undefined
  readonly cut: boolean
}

const nothing: Loaded = { head: undefined, events: [], end: undefined, error: undefined, cut: false }

/** What happened in a session, without the bytes of terminals; of a live one, as it happens. */
export function useRecording(session: string, query: string, turn: number): Loaded {
  const [loaded, setLoaded] = useState<Loaded>(nothing)
  // biome-ignore lint/correctness/useExhaustiveDependencies: `turn` is what asks for it again
  useEffect(() => {
    const stop = new AbortController()
    const events: ReplayEvent[] = []
    let [head, end]: (ReplayEvent | undefined)[] = []
    let cut = false
    const show = (error?: ApiError) => stop.signal.aborted || setLoaded({ head, events: [...events], end, error, cut })
    setLoaded(nothing)
    const load = async () => {
      for await (const line of jsonLines<ReplayEvent>(
        `/api/recordings/${session}/events?outline=true&${query}`,
        stop.signal,
      )) {
        if (line.kind === 'recording' && head === undefined) head = line
        else if (line.kind === 'end') end = line
        else if (events.length < mostEvents) events.push(line)
        else cut = true
      }
      if (end === undefined) throw new Error('it has no end') // whoever read it for us is gone
    }
    return follow(load, show, stop)
  }, [session, query, turn])
  return loaded
}

/** One terminal of it. */
export function useCast(
  session: string,
  channel: string | undefined,
  query: string,
  began: number | undefined,
): { cast: Cast | undefined; error: ApiError | undefined } {
  const [shown, setShown] = useState<{ cast: Cast | undefined; error: ApiError | undefined }>({
    cast: undefined,
    error: undefined,
  })
  useEffect(() => {
    if (channel === undefined || began === undefined) return undefined
    const stop = new AbortController()
    const frames: Frame[] = []
    let head: { width: number; height: number; timestamp: number } | undefined
    const show = (error?: ApiError) => {
      if (stop.signal.aborted || (head === undefined && error === undefined)) return
      const from = head === undefined ? 0 : Math.max(0, head.timestamp * 1000 - began)
      const cast =
        head === undefined
          ? undefined
          : { cols: Math.min(head.width, 500), rows: Math.min(head.height, 200), from, frames: [...frames] }
      setShown({ cast, error })
    }
    const load = async () => {
      const path = `/api/recordings/${session}/asciicast?verb=open&channel=${encodeURIComponent(channel)}&${query}`
      for await (const line of jsonLines<unknown>(path, stop.signal)) {
        if (Array.isArray(line)) {
          const [seconds, code, data] = line as [number, string, string]
          if (frames.length < mostFrames) frames.push({ at: seconds * 1000, code, data })
        } else head ??= line as typeof head
      }
    }
    return follow(load, show, stop)
  }, [session, channel, query, began])
  return shown
}

/** Shows what has come four times a second, and at the end. @returns what gives it up. */
function follow(load: () => Promise<void>, show: (error?: ApiError) => unknown, stop: AbortController): () => void {
  const timer = setInterval(() => show(), 250)
  load()
    .then(
      () => show(),
      failure => show(errorOf(failure)),
    )
    .finally(() => clearInterval(timer))
  return () => {
    clearInterval(timer)
    stop.abort()
  }
}

function errorOf(failure: unknown): ApiError | undefined {
  if (failure instanceof ApiFailure) return failure.error
  if ((failure as { name?: string }).name === 'AbortError') return undefined
  return { status: 0, code: 'internal', message: 'the replay was cut off', remedy: 'load the page again' }
}
