import { withoutClaims } from '../log/hidden.ts'
import { type Input, type Point, points } from '../points.ts'
import { isInput } from '../results.ts'

/** A recorded question, from an entry of the decision log in OPA's event format. */
export interface Recorded {
  readonly id: string
  readonly point: Point
  readonly input: Input<Point>
  readonly at_ms: number
  /** The log was told to erase or mask something of the input: it is judged without that. */
  readonly partial: boolean
}

/** Why an entry cannot be judged again. `misfit`: its input does not have the shape that this version judges. */
export type Unusable = 'unreadable' | 'not_recorded' | 'misfit'

interface OpaEvent {
  readonly decision_id?: unknown
  readonly path?: unknown
  readonly input?: unknown
  readonly timestamp?: unknown
  readonly erased?: unknown
  readonly masked?: unknown
}

const maxDepth = 128
const entry = /^\/?sallyport\/([a-z_]+)\/result$/

/** Reads one line of an exported decision log (JSON Lines). It does not throw. */
export function readEvent(line: string): Recorded | Unusable {
  let event: OpaEvent
  try {
    event = JSON.parse(line) as OpaEvent
  } catch {
    return 'unreadable'
  }
  if (typeof event !== 'object' || event === null || typeof event.path !== 'string') return 'unreadable'
  const point = entry.exec(event.path)?.[1]
  if (point === undefined || !Object.hasOwn(points, point)) return 'unreadable'
  if (event.input === undefined || event.input === null) return 'not_recorded' // the engine refused to read it then
  if (!isShallow(event.input)) return 'misfit' // the engine would not have read it either
  const hidden = [...inputPaths(event.erased), ...inputPaths(event.masked)]
  const input = withoutClaims(event.input, hidden) ?? event.input
  if (!isInput(point as Point, input)) return 'misfit'
  const at_ms = typeof event.timestamp === 'string' ? Date.parse(event.timestamp) : Number.NaN
  return {
    id: typeof event.decision_id === 'string' ? event.decision_id : '',
    point: point as Point,
    input,
    at_ms: Number.isNaN(at_ms) ? 0 : at_ms,
    partial: hidden.length > 0,
  }
}

/** As deep as canonical JSON may be; what is deeper ends the stack of whoever writes or hides it. */
function isShallow(value: unknown, depth = 0): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (depth > maxDepth) return false
  for (const member of Object.values(value)) if (!isShallow(member, depth + 1)) return false
  return true
}

function inputPaths(paths: unknown): string[] {
  return Array.isArray(paths) ? paths.filter(path => typeof path === 'string' && path.startsWith('/input')) : []
}

/** Whom and what a question is about, for people. */
export interface Party {
  readonly subject: { readonly id: string; readonly name: string } | null
  readonly resource: string | null
  readonly role: string | null
}

export function partyOf(point: Point, input: Input<Point>): Party {
  const all = input as Partial<Input<'access'>> & Partial<Input<'replay'>> & Partial<Input<'admin'>>
  const { subject, resource, recording, role, call, target } = all
  const named = typeof resource === 'object' ? resource.name : (recording?.resource ?? target?.['resource'] ?? null)
  return {
    subject: subject === undefined ? null : { id: subject.id, name: subject.name },
    resource: typeof resource === 'string' ? resource : named,
    role: point === 'admin' ? (call ?? null) : (role ?? recording?.role ?? null),
  }
}
