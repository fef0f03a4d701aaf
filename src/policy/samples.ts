import type { PolicyData, ResourceData } from './data-schema.ts'
import { type Input, type Point, points, type SubjectFacts } from './points.ts'
import { timeFacts } from './time.ts'

/**
 * Questions nobody asked, one for each point and each resource, role and group that the data files name: a commit whose
 * policies cannot answer them is refused before anybody meets the fault.
 */
export function sampleQuestions(data: PolicyData): { point: Point; input: Input<Point>; label: string }[] {
  const pairs = Object.entries(data.resources)
    .slice(0, maxResources)
    .flatMap(([name, resource]) => rolesIn(data).map(pair => ({ name, resource, ...pair })))
  const where =
    pairs.length > 0 ? pairs.slice(0, maxPairs) : [{ name: 'none', resource: nowhere, role: 'reader', group: 'nobody' }]
  const perResource = where.flatMap(({ name, resource, role, group }) =>
    resourcePoints.map(point => ({
      point,
      input: sample(point, { name, resource, role, group }),
      label: `${point} of ${group} as ${role} on ${name}`,
    })),
  )
  const rest = (Object.keys(points) as Point[]).filter(point => !resourcePoints.includes(point))
  return [...perResource, ...rest.map(point => ({ point, input: sample(point, where[0]!), label: point }))]
}

/** A subject that nobody is, in one group. */
export function sampleSubject(group: string): SubjectFacts {
  return {
    claims: {},
    email: null,
    groups: [group],
    groups_at_ms: sampledAt,
    id: 'sub_00000000000000000000000000',
    issuer: 'https://sample.invalid',
    kind: 'person',
    name: 'Sample',
    on_behalf_of: null,
    subject: 'sample',
    token: null,
  }
}

const maxResources = 20
const maxPairs = 200
const sampledAt = Date.UTC(2026, 0, 6, 12)
const resourcePoints: readonly Point[] = ['access', 'action', 'masking', 'recording', 'replay', 'retention']
const nowhere: ResourceData = { protocol: 'none', address: 'sample.invalid:1', labels: {} }
const client = { address: '192.0.2.1', application: 'sample', via: 'sample' }

interface Where {
  readonly name: string
  readonly resource: ResourceData
  readonly role: string
  readonly group: string
}

function rolesIn(data: PolicyData): { role: string; group: string }[] {
  return Object.entries(data.roles).flatMap(([group, roles]) => Object.keys(roles).map(role => ({ group, role })))
}

function sample(point: Point, { name, resource: declared, role, group }: Where): Input<Point> {
  const subject = sampleSubject(group)
  const resource = { address: declared.address, labels: declared.labels, name, protocol: declared.protocol }
  const time = timeFacts(sampledAt, 'UTC')
  const request = { created_at_ms: sampledAt, duration_s: 60, id: 'req_sample', reason: 'sample', ticket_ref: null }
  const recording = {
    id: 'rec_sample',
    labels: declared.labels,
    live: false,
    protocol: declared.protocol,
    resource: name,
    role,
    session: 'ses_sample',
    started_at_ms: sampledAt,
    subject: 'sub_sample',
  }
  const all: { [P in Point]: Input<P> } = {
    access: { client, grant: null, request, resource, role, roles: [role], stage: 'request', subject, time, votes: [] },
    approve: {
      answer: 'approve',
      approvers: [group],
      request,
      requester: sampleSubject('nobody'),
      resource,
      role,
      stage: 0,
      subject: { ...subject, id: 'sub_sample' },
      time,
      via: 'sample',
      votes: [],
    },
    action: {
      action: {
        facts: {},
        functions: [],
        kind: 'select',
        protocol: declared.protocol,
        reads: [{ name: 'sample', schema: 'public' }],
        verb: 'read',
        writes: [],
      },
      resource,
      role,
      subject,
      time,
    },
    masking: { resource, role, subject },
    recording: { resource, role, subject },
    replay: { own: false, reason: null, recording, subject, time, verb: 'open', view: 'masked' },
    retention: { class: 'recording', recording },
    admin: { call: 'me', own: true, subject, target: {}, time },
    alerts: { counts: [{ count: 1, labels: {}, name: 'sample' }], window_s: 60 },
    decision_log: { effect: 'allow', point: 'access', resource: name },
  }
  return all[point]
}
