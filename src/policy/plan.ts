import { SallyportError } from '../errors.ts'
import type { PolicyData } from './data-schema.ts'
import type { Pace } from './pace.ts'
import type {
  ApprovalTerms,
  Input,
  MaskRule,
  Reason,
  RecordingSettings,
  ResourceFacts,
  ReviewTerms,
  SubjectFacts,
} from './points.ts'
import { rolesGiven } from './resources.ts'
import { sampleSubject } from './samples.ts'
import { timeFacts } from './time.ts'
import type { Weigh } from './weigh.ts'

/** Who asks, for what, when, from where. */
export interface Asking {
  readonly subject: SubjectFacts
  readonly resource: ResourceFacts
  readonly client: { readonly address: string; readonly application: string; readonly via: string }
  readonly now_ms: number
  readonly zone: string
}

export interface AccessPlan {
  readonly role: string
  readonly effect: 'allow' | 'ask' | 'deny'
  readonly code: string
  readonly reasons: readonly Reason[]
  readonly approval: ApprovalTerms | null
  /** The longest that may be asked for; null where the data gives the role to none of their groups. */
  readonly max_s: number | null
  /** Who looks afterwards at what was done, and until when. */
  readonly review: ReviewTerms | null
  readonly session: {
    max_s: number
    idle_s: number
    max_connections: number
    from: string[]
    moderators?: string[]
  } | null
}

export interface RolePlan extends AccessPlan {
  /** Null where policy gives no usable answer: then no session begins. */
  readonly recording: RecordingSettings | null
  readonly masks: readonly MaskRule[] | null
  /** How long the recording of such a session is kept; null: for ever. */
  readonly keep_s: number | null
  readonly replay: { readonly own: View; readonly groups: readonly { readonly group: string; readonly view: View }[] }
}

/** What somebody gets to see of a recording. */
export type View = 'clear' | 'masked' | 'nothing'

const usual_s = 3600

/** What the access point says of one role now, asked for an hour or as long as the role lasts. */
export function accessPlan(weigh: Weigh, asking: Asking, role: string, data: PolicyData): AccessPlan {
  const { subject, resource, client, now_ms, zone } = asking
  const roles = rolesGiven(data, subject.groups, resource)
  const max_s = roles.find(each => each.role === role)?.max_s ?? null
  const input: Input<'access'> = {
    stage: 'request',
    subject,
    resource,
    role,
    roles: roles.map(each => each.role),
    request: {
      id: 'req_planned',
      reason: 'asked by a plan',
      ticket_ref: null,
      duration_s: Math.min(usual_s, max_s ?? usual_s),
      created_at_ms: now_ms,
    },
    votes: [],
    grant: null,
    client,
    time: timeFacts(now_ms, zone),
  }
  const { effect, code, reasons, result } = weigh('access', input)
  return {
    role,
    effect: effect === 'data' ? 'deny' : effect,
    code,
    reasons,
    approval: effect === 'ask' ? (result?.approval ?? null) : null,
    max_s: result?.grant?.max_s ?? max_s,
    review: effect === 'deny' ? null : (result?.grant?.review ?? null),
    session: effect === 'deny' ? null : (result?.session ?? null),
  }
}

/**
 * Everything that applies to a subject as one role on a resource.
 * @param groups who may replay is asked for each of these.
 * @throws SallyportError where its time is used up: half a plan would be read as a whole one.
 */
export async function rolePlan(
  weigh: Weigh,
  asking: Asking,
  role: string,
  data: PolicyData,
  groups: readonly string[],
  pace: Pace,
): Promise<RolePlan> {
  const access = accessPlan(weigh, asking, role, data)
  if (access.effect === 'deny') {
    return { ...access, recording: null, masks: null, keep_s: null, replay: { own: 'nothing', groups: [] } }
  }
  const { subject, resource, now_ms, zone } = asking
  const on = { subject, resource, role }
  const facts = {
    id: 'rec_planned',
    session: 'ses_planned',
    subject: subject.id,
    resource: resource.name,
    labels: { ...resource.labels },
    role,
    protocol: resource.protocol,
    started_at_ms: now_ms,
    live: false,
  }
  const kept = weigh('retention', { class: 'recording', recording: facts }).result
  const viewOf = (who: SubjectFacts, own: boolean): View => {
    for (const view of ['clear', 'masked'] as const) {
      const question = { subject: who, recording: facts, own, verb: 'open' as const, view, reason: 'asked by a plan' }
      const { effect, result } = weigh('replay', { ...question, time: timeFacts(now_ms, zone) })
      if (effect === 'allow' && result !== null) return result.view
    }
    return 'nothing'
  }
  const inGroup = (group: string) => ({ ...sampleSubject(group), groups_at_ms: now_ms })
  const replaying: { group: string; view: View }[] = []
  for (const group of groups) {
    if (!(await pace.goOn()))
      throw new SallyportError('bad_request', 'this policy is too slow for a plan of so many roles and groups', {
        remedy: 'name one role with --role; `sallyport policy check` refuses a policy that does not end',
      })
    const view = viewOf(inGroup(group), false)
    if (view !== 'nothing') replaying.push({ group, view })
  }
  return {
    ...access,
    recording: weigh('recording', on).result,
    masks: weigh('masking', on).result?.rules ?? null,
    keep_s: kept === null || kept.legal_hold ? null : kept.keep_s,
    replay: { own: viewOf(subject, true), groups: replaying },
  }
}

/** The roles that the data names, for anybody. */
export function rolesNamed(data: PolicyData): string[] {
  return [...new Set(Object.values(data.roles).flatMap(roles => Object.keys(roles)))].sort()
}
