import { canonical, type Json } from '../canonical.ts'
import { freezeDeep, isFrozenDeep } from './frozen.ts'
import type { ActionFacts, DecisionCode, Input, Point, ResourceFacts, SubjectFacts } from './points.ts'
import { isActionFacts, isInput } from './results.ts'

export const maxInputChars = 256 * 1024

/** Why an input cannot be judged. */
export interface Unjudgeable {
  readonly code: Extract<DecisionCode, 'input_invalid' | 'input_too_large'>
  readonly message: string
}

/** An input as it will be judged. `key` stands for it in a cache: equal keys have equal texts. */
export interface Question {
  readonly key: string
  text(): string | Unjudgeable
}

/** Reads an input of the right shape and size, or says why it cannot be judged. It does not throw. */
export function readQuestion<P extends Point>(point: P, input: Input<P>): Question | Unjudgeable {
  try {
    const short = point === 'action' ? actionQuestion(input as Input<'action'>) : undefined
    if (short !== undefined) return short
    if (!isInput(point, input))
      return { code: 'input_invalid', message: `the input does not have the shape of ${point}` }
    const text = bounded(canonical(input as Json))
    return typeof text === 'string' ? { key: text, text: () => text } : text
  } catch (error) {
    return {
      code: 'input_invalid',
      message: error instanceof Error ? error.message : 'the input is not canonical JSON',
    }
  }
}

/** What the package of `action` asks for beyond session facts, added here so that no caller can forget it. */
export function withNeeds<P extends Point>(
  point: P,
  input: Input<P>,
  needs: readonly string[],
  time: () => Input<'admin'>['time'],
): Input<P> {
  return point === 'action' && needs.includes('time') ? { ...input, time: time() } : input
}

function bounded(text: string): string | Unjudgeable {
  if (text.length <= maxInputChars) return text
  return { code: 'input_too_large', message: `the input has ${text.length} characters; ${maxInputChars} are judged` }
}

/** What a session asks about again and again, so that nobody can change it any more and its text need be made only once. */
export function sessionFacts(about: { subject: SubjectFacts; resource: ResourceFacts; role: string }): {
  readonly subject: SubjectFacts
  readonly resource: ResourceFacts
  readonly role: string
} {
  return freezeDeep({
    subject: structuredClone(about.subject),
    resource: structuredClone(about.resource),
    role: about.role,
  })
}

/** Session facts that never change, and the end of an input's text that they are: `,"resource":…,"role":…,"subject":…}`. */
interface Facts {
  readonly id: number
  readonly end: string
}

const known = new WeakMap<SubjectFacts, WeakMap<ResourceFacts, Map<string, Facts>>>()
const maxRoles = 16
const members = ['action', 'resource', 'role', 'subject'] as const
let lastId = 0

/**
 * An `action` input whose session facts are known by the very objects. INVARIANT: its text is the one that `canonical` gives
 * for the whole; only deeply frozen facts that passed the whole check once are known.
 * @returns undefined where that cannot be said, and the plain way must be gone.
 */
function actionQuestion(input: Input<'action'>): Question | undefined {
  if (Object.keys(input).length !== members.length || !members.every(name => Object.hasOwn(input, name)))
    return undefined
  const { action, resource, role, subject } = input
  if (typeof subject !== 'object' || subject === null || typeof resource !== 'object' || resource === null)
    return undefined
  const facts = known.get(subject)?.get(resource)?.get(role) ?? learn(input)
  if (facts === undefined) return undefined
  const start = starts.get(action) ?? startOf(action)
  if (start === undefined) return undefined
  // A key of the plain way begins with a brace, one of these with a digit.
  return { key: `${facts.id} ${start}`, text: () => bounded(`{"action":${start}${facts.end}`) }
}

/** The texts of actions that never change: protocols share one for each template of a statement. */
const starts = new WeakMap<ActionFacts, string>()

function startOf(action: ActionFacts): string | undefined {
  if (!isActionFacts(action)) return undefined
  const start = canonical(action as Json, 1)
  if (Object.isFrozen(action) && isFrozenDeep(action)) starts.set(action, start)
  return start
}

function learn(input: Input<'action'>): Facts | undefined {
  const { subject, resource, role } = input
  if (!isFrozenDeep(subject) || !isFrozenDeep(resource) || !isInput('action', input)) return undefined
  const texts = { resource: canonical(resource as Json, 1), subject: canonical(subject as Json, 1) }
  const facts = {
    id: ++lastId,
    end: `,"resource":${texts.resource},"role":${canonical(role)},"subject":${texts.subject}}`,
  }
  const byResource = known.get(subject) ?? new WeakMap<ResourceFacts, Map<string, Facts>>()
  const byRole = byResource.get(resource) ?? new Map<string, Facts>()
  if (byRole.size < maxRoles) byRole.set(role, facts)
  known.set(subject, byResource.set(resource, byRole))
  return facts
}
