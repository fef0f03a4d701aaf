import type { Decision } from './decision.ts'
import type { About } from './engine.ts'
import type { Input, Point } from './points.ts'
import { subjectOf } from './scopes.ts'

export interface Named {
  readonly resource: string | null
  readonly role: string | null
  readonly call: string | null
}

/**
 * What a decision and its Permit say they are about. INVARIANT: what policy judged (the input) wins; the caller only
 * adds what the input does not hold. Without a readable input the Permit's side stays empty: there is none.
 */
export function about<P extends Point>(
  point: P,
  input: Input<P> | null,
  said: About,
): { about: Decision['about']; named: Named } {
  const named = input === null ? nothing : namedIn(point, input)
  const subject = input === null ? undefined : subjectOf(input)
  return {
    named,
    about: Object.freeze({
      subject_id: subject?.id ?? said.subject_id ?? null,
      resource: named.resource ?? said.resource ?? null,
      session_id: said.session_id ?? null,
      request_id: said.request_id ?? null,
    }),
  }
}

const nothing: Named = { resource: null, role: null, call: null }

function namedIn<P extends Point>(point: P, input: Input<P>): Named {
  if (point === 'access') {
    const { resource, role, stage } = input as Input<'access'>
    return { resource: resource.name, role, call: stage }
  }
  if (point === 'admin') {
    const { call, target } = input as Input<'admin'>
    return { resource: target['resource'] ?? null, role: null, call }
  }
  if (point === 'replay') {
    const { recording } = input as Input<'replay'>
    return { resource: recording.resource, role: recording.role, call: null }
  }
  if ('role' in input) return { resource: input.resource.name, role: input.role, call: null }
  return nothing
}
