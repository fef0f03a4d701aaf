/** Where a replay stands, in milliseconds of the recording; it knows nothing of a page. */
export interface Clock {
  readonly at: number
  readonly playing: boolean
  readonly speed: number
  readonly skipIdle: boolean
}

export const speeds = [0.5, 1, 2, 4, 8, 16] as const
/** A pause that is longer is cut, where idle time is skipped. */
const longestPause = 1_000
const leadIn = 300

/** The clock after `passed` milliseconds of the viewer's time. @param times of what happens, in order. @param end of the recording. */
export function advanced(clock: Clock, passed: number, times: readonly number[], end: number): Clock {
  if (!clock.playing) return clock
  const at = clock.at + passed * clock.speed
  const next = times[indexAfter(times, clock.at)]
  const skips = clock.skipIdle && next !== undefined && next - clock.at > longestPause && at < next - leadIn
  const reached = skips ? next - leadIn : at
  const over = clock.skipIdle && next === undefined ? Math.min(reached, end) : reached
  return over >= end ? { ...clock, at: end, playing: false } : { ...clock, at: over }
}

/** Of times in order the first that is later. */
export function indexAfter(times: readonly number[], at: number): number {
  let [low, high] = [0, times.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (times[middle]! <= at) low = middle + 1
    else high = middle
  }
  return low
}

/** `1:02:03`. */
export function timeText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const two = (n: number) => String(n).padStart(2, '0')
  const hours = Math.floor(seconds / 3600)
  const rest = `${hours > 0 ? two(Math.floor(seconds / 60) % 60) : Math.floor(seconds / 60)}:${two(seconds % 60)}`
  return hours > 0 ? `${hours}:${rest}` : rest
}
