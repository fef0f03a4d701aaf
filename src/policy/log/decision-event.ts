import { type Static, Type as T } from 'typebox'
import { Compile } from 'typebox/compile'
import { canonical, type Json } from '../../canonical.ts'
import { SallyportError } from '../../errors.ts'
import { points } from '../points.ts'
import type { StoredDecision } from './decision-store.ts'

/**
 * A decision as OPA's decision logs write one (`EventV1`), a line or an array element each, in exports of every kind. What
 * that format has no place for stands under `custom.sallyport`. Other members, which another version or OPA itself adds, are let by.
 */
const OrNull = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])
const Own = T.Object({
  point: T.Unsafe<keyof typeof points>(T.Union(Object.keys(points).map(point => T.Literal(point)))),
  effect: T.Union([T.Literal('allow'), T.Literal('deny'), T.Literal('ask'), T.Literal('data')]),
  code: T.String(), // `policy`, or why the engine denied on its own
  generation: OrNull(T.Integer()),
  digest: OrNull(T.String()), // of the bundle
  input_digest: T.String(), // of the input that was judged, also where not all of it is shown
  reasons: T.Array(
    T.Object({ rule: T.String(), message: T.String(), remedy: T.Optional(T.String()), at: T.Optional(T.String()) }),
  ),
  subject_id: OrNull(T.String()),
  resource: OrNull(T.String()),
  session_id: OrNull(T.String()),
  request_id: OrNull(T.String()),
  count: T.Integer({ minimum: 1 }), // how often it was asked, as far as was known when this was written
})
const EventSchema = T.Object({
  labels: T.Record(T.String(), T.String()), // app, id (the deployment), version
  decision_id: T.String(),
  bundles: T.Optional(T.Record(T.String(), T.Object({ revision: T.String() }))), // sallyport → commit
  path: T.String(), // sallyport/POINT/result
  input: T.Unknown(),
  result: T.Optional(T.Unknown()), // not there where the engine denied on its own: then `error` is
  error: T.Optional(T.Object({ code: T.String(), message: T.String() })),
  erased: T.Optional(T.Array(T.String())), // JSON pointers below /input or /result
  masked: T.Optional(T.Array(T.String())),
  requested_by: T.Optional(T.String()), // id of the subject
  timestamp: T.String(), // RFC 3339
  custom: T.Object({ sallyport: Own }),
})
const checker = Compile(EventSchema)

export type DecisionEvent = Static<typeof EventSchema>

/** What the labels of every event of a deployment say. */
export interface EventLabels {
  readonly app: 'sallyport'
  readonly id: string
  readonly version: string
}

/** The event of a stored decision, as JSON on one line. Input and result keep the canonical text they were stored with. */
export function decisionEvent(row: StoredDecision, labels: EventLabels): string {
  const { reasons, erased, masked } = row
  const members: [string, string | undefined][] = [
    ['labels', JSON.stringify(labels)],
    ['decision_id', JSON.stringify(row.id)],
    ['bundles', row.commit === null ? undefined : JSON.stringify({ sallyport: { revision: row.commit } })],
    ['path', JSON.stringify(`sallyport/${row.point}/result`)],
    ['input', row.input],
    ['result', row.result === 'null' ? undefined : row.result],
    ['error', row.code === 'policy' ? undefined : JSON.stringify(errorOf(row))],
    ['erased', erased.length === 0 ? undefined : JSON.stringify(erased)],
    ['masked', masked.length === 0 ? undefined : JSON.stringify(masked)],
    ['requested_by', row.subject_id === null ? undefined : JSON.stringify(row.subject_id)],
    ['timestamp', JSON.stringify(new Date(row.at_ms).toISOString())],
    [
      'custom',
      JSON.stringify({
        sallyport: {
          point: row.point,
          effect: row.effect,
          code: row.code,
          generation: row.generation,
          digest: row.digest,
          input_digest: row.input_digest,
          reasons,
          subject_id: row.subject_id,
          resource: row.resource,
          session_id: row.session_id,
          request_id: row.request_id,
          count: row.count,
        },
      }),
    ],
  ]
  const shown = members.filter(([, value]) => value !== undefined)
  return `{${shown.map(([name, value]) => `"${name}":${value}`).join(',')}}`
}

function errorOf({ code, reasons }: StoredDecision): { code: string; message: string } {
  return { code, message: reasons[0]?.message ?? code }
}

/**
 * Reads one line of an exported decision log.
 * @param where names the line in messages, for example `log.jsonl:12`.
 * @throws SallyportError `bad_request` for a line that is no event of ours.
 */
export function readDecisionEvent(line: string, where: string): DecisionEvent {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw notOurs(where, 'it is no JSON')
  }
  if (checker.Check(value)) return value
  const [first] = checker.Errors(value)
  throw notOurs(where, `${first?.instancePath || '/'}: ${first?.message ?? 'another shape'}`)
}

/** The canonical input of an event: the text that was judged, where nothing of it is erased or masked. */
export function eventInput(event: DecisionEvent): { text: string; whole: boolean } {
  const changed = [...(event.erased ?? []), ...(event.masked ?? [])]
  return { text: canonical(event.input as Json), whole: !changed.some(path => /^\/input(\/|$)/.test(path)) }
}

function notOurs(where: string, why: string): SallyportError {
  return new SallyportError('bad_request', `${where} is no decision of Sallyport: ${why}`, {
    remedy: 'give a file that `sallyport decisions export` or a file exporter wrote',
  })
}
