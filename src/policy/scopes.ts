import type { Input, Point, SubjectFacts } from './points.ts'

/**
 * What an API token may ask for. A scope names a point and, after the colon, what it asks there: the stage of `access`,
 * the answer of `approve`, the view of `replay`, the call of `admin`. `*` stands for everything, `admin:*` for every
 * call, `admin:sessions.*` for the calls of one family. A token without a fitting scope is denied before policy is asked.
 */
const shape = /^(?:\*|(?:access|approve|replay|admin):(?:\*|[a-z_]+(?:\.[a-z_]+)*(?:\.\*)?))$/

/** Points that are asked about a session which `access` let in, or by the system itself: their scope is that of access. */
const inherited: ReadonlySet<Point> = new Set<Point>(['action', 'masking', 'recording'])

/** Whether text is a scope that a token may be issued with. */
export function isScope(text: string): boolean {
  return text.length <= 128 && shape.test(text)
}

/** Whether these scopes cover the question. */
export function scopesAllow<P extends Point>(scopes: readonly string[], point: P, input: Input<P>): boolean {
  const wanted = inherited.has(point) ? 'access:connect' : `${point}:${asked(point, input)}`
  return scopes.some(scope => isScope(scope) && covers(scope, wanted))
}

/** The subject that an input is about, where the point has one. */
export function subjectOf<P extends Point>(input: Input<P>): SubjectFacts | undefined {
  return 'subject' in input ? input.subject : undefined
}

function covers(scope: string, wanted: string): boolean {
  if (scope === '*' || scope === wanted) return true
  return scope.endsWith('*') && wanted.startsWith(scope.slice(0, -1))
}

function asked<P extends Point>(point: P, input: Input<P>): string {
  if (point === 'access') {
    const { stage } = input as Input<'access'>
    return stage === 'live' ? 'connect' : stage // a session that may be opened may live
  }
  if (point === 'approve') return (input as Input<'approve'>).answer
  if (point === 'replay') return (input as Input<'replay'>).view
  if (point === 'admin') return (input as Input<'admin'>).call
  return 'none'
}
