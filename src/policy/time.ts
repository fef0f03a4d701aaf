import type { Static } from 'typebox'
import type { Time } from './points.ts'

const formats = new Map<string, Intl.DateTimeFormat>()

/**
 * `input.time`: the instant and what a policy asks of it, computed here because policies have no clock.
 * @param zone an IANA zone, a setting of the deployment.
 */
export function timeFacts(now_at_ms: number, zone: string): Static<typeof Time> {
  const part: Record<string, string> = {}
  for (const { type, value } of format(zone).formatToParts(now_at_ms)) part[type] = value
  return {
    date: `${part['year']}-${part['month']}-${part['day']}`,
    minute_of_day: Number(part['hour']) * 60 + Number(part['minute']),
    now_at_ms: Math.floor(now_at_ms),
    weekday: part['weekday'] as Static<typeof Time>['weekday'],
    zone,
  }
}

function format(zone: string): Intl.DateTimeFormat {
  let found = formats.get(zone)
  if (found === undefined) {
    found = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    })
    formats.set(zone, found)
  }
  return found
}
