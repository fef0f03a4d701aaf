import type { PolicyData } from './data-schema.ts'
import type { Input, Point, SubjectFacts } from './points.ts'
import { rolesGiven } from './resources.ts'
import { timeFacts } from './time.ts'

/** What was changed of a question. */
export type ChangeKind =
  | 'duration' // asked for at most so many seconds
  | 'group' // the subject were in it
  | 'own' // it were their own
  | 'person' // a person who signed in, instead of a token
  | 'reason' // with a reason
  | 'role' // as another role
  | 'ticket' // with a number of a ticket
  | 'time' // at another time: epoch ms
  | 'view' // another view of a recording

export interface Change {
  readonly kind: ChangeKind
  readonly value: string
  readonly input: Input<Point>
}

export interface Around {
  /** Groups that are known: those of the data files and of people. */
  readonly groups: readonly string[]
  readonly data: PolicyData
}

const maxGroups = 500
const hours = 7 * 24
const durations = [28_800, 14_400, 7_200, 3_600, 1_800, 900, 300, 60]

/** Questions that differ from this one in a single thing, those that change most for a person last. */
export function* nearby(point: Point, input: Input<Point>, around: Around): Generator<Change> {
  const asked = input as Partial<Input<'access'> & Input<'replay'> & Input<'admin'>>
  yield* ofRequest(asked, input)
  if (point === 'replay') {
    if (asked.reason === null)
      yield { kind: 'reason', value: '', input: { ...input, reason: 'a reason' } as Input<Point> }
    if (asked.view === 'clear')
      yield { kind: 'view', value: 'masked', input: { ...input, view: 'masked' } as Input<Point> }
  }
  if (asked.own === false) yield { kind: 'own', value: '', input: { ...input, own: true } as Input<Point> }
  if (asked.subject?.token) yield { kind: 'person', value: '', input: withSubject(input, { token: null }) }
  yield* atOtherTimes(asked, input)
  if (point === 'access' || point === 'action') yield* asOtherRoles(asked, input, around)
  yield* inOtherGroups(point, asked, input, around)
}

type Asked = Partial<Input<'access'> & Input<'replay'> & Input<'admin'>>

function* ofRequest({ request }: Asked, input: Input<Point>): Generator<Change> {
  if (!request) return
  const given = (change: Partial<typeof request>) => ({ ...input, request: { ...request, ...change } }) as Input<Point>
  for (const duration_s of durations.filter(each => each < request.duration_s))
    yield { kind: 'duration', value: String(duration_s), input: given({ duration_s }) }
  if (request.ticket_ref === null) yield { kind: 'ticket', value: 'TICKET-1', input: given({ ticket_ref: 'TICKET-1' }) }
}

/** The next full hours of a week. */
function* atOtherTimes({ time }: Asked, input: Input<Point>): Generator<Change> {
  if (!time) return
  const hour_ms = 3_600_000
  const next = Math.floor(time.now_at_ms / hour_ms) * hour_ms
  for (let i = 1; i <= hours; i++) {
    const at_ms = next + i * hour_ms
    yield { kind: 'time', value: String(at_ms), input: { ...input, time: timeFacts(at_ms, time.zone) } as Input<Point> }
  }
}

function* asOtherRoles({ role }: Asked, input: Input<Point>, { data }: Around): Generator<Change> {
  const roles = new Set(Object.values(data.roles).flatMap(each => Object.keys(each)))
  for (const other of [...roles].sort())
    if (other !== role) yield { kind: 'role', value: other, input: { ...input, role: other } as Input<Point> }
}

function* inOtherGroups(
  point: Point,
  { subject, resource }: Asked,
  input: Input<Point>,
  around: Around,
): Generator<Change> {
  if (!subject) return
  for (const group of around.groups.filter(each => !subject.groups.includes(each)).slice(0, maxGroups)) {
    const groups = [...subject.groups, group]
    const changed = withSubject(input, { groups })
    const roles =
      point === 'access' && resource ? { roles: rolesGiven(around.data, groups, resource).map(r => r.role) } : {}
    yield { kind: 'group', value: group, input: { ...changed, ...roles } as Input<Point> }
  }
}

function withSubject(input: Input<Point>, change: Partial<SubjectFacts>): Input<Point> {
  return { ...input, subject: { ...(input as Input<'admin'>).subject, ...change } } as Input<Point>
}
