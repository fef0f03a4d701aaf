import { Gauge, register } from 'prom-client'
import type { PlaceState } from './state.ts'

function gauge<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Gauge<Label> {
  const known = register.getSingleMetric(name) as Gauge<Label> | undefined
  return known ?? new Gauge({ name, help, labelNames: [...labelNames] })
}

/** Numbers of the outside places, on control's `/metrics`. */
export function countPlaces(places: readonly PlaceState[]): void {
  const entries = gauge('sallyport_audit_place_behind_entries', 'Signed entries that an outside place has not got', [
    'place',
  ])
  const seconds = gauge('sallyport_audit_place_behind_seconds', 'For how long the oldest of those has been signed', [
    'place',
  ])
  const failing = gauge('sallyport_audit_place_failing_seconds', 'For how long a place has failed; 0: it works', [
    'place',
  ])
  for (const { name, behind_entries, behind_s, failing_s } of places) {
    entries.set({ place: name }, behind_entries)
    seconds.set({ place: name }, behind_s)
    failing.set({ place: name }, failing_s)
  }
}
