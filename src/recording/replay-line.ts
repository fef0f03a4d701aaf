import type { Played } from './part-reader.ts'

/** An event as a line of a replay. Its body may hold members of any name; the envelope wins. */
export function lineOf({ at_us, t: _t, at_ms: _at, part, conn, seq, kind, ...body }: Played): object {
  return { at_ms: at_us / 1000, part, conn, seq, kind, ...body }
}

/** The same, without the bytes that a terminal or a file carried: who leafs through a session does not load all of it. */
export function outlineOf(event: Played): object {
  const { data } = event
  return data instanceof Uint8Array ? { ...lineOf(event), data: undefined, bytes: data.length } : lineOf(event)
}
