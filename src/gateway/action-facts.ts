import { type Static, Type as T, type TObject } from 'typebox'
import type { ActionFacts } from '../policy/points.ts'

/** Facts of each kind of action of one protocol. */
export type FactsByKind = Readonly<Record<string, TObject>>

/** Every action of a protocol that touches no relations: a kind, its verb, and the facts of that kind. */
export function actionSchemaOf(protocol: string, facts: FactsByKind) {
  const closed = { additionalProperties: false }
  return T.Union(
    Object.entries(facts).map(([kind, schema]) =>
      T.Object(
        {
          kind: T.Literal(kind),
          protocol: T.Literal(protocol),
          verb: T.String(),
          reads: T.Array(T.Never()),
          writes: T.Array(T.Never()),
          functions: T.Array(T.Never()),
          facts: schema,
        },
        closed,
      ),
    ),
  )
}

/** Makes actions of these kinds. */
export function actionOf<Facts extends FactsByKind>(protocol: string, _facts: Facts) {
  return <K extends keyof Facts & string>(
    kind: K,
    verb: ActionFacts['verb'],
    about: Static<Facts[K]>,
  ): ActionFacts => ({
    kind,
    verb,
    protocol,
    reads: [],
    writes: [],
    functions: [],
    facts: about as Record<string, unknown>,
  })
}
