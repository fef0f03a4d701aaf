import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'

/** What a checker of schemas finds: TypeBox's own, or fastify's with the same fields. */
export interface SchemaError {
  readonly keyword?: string
  readonly schemaPath?: string
  readonly instancePath: string
  readonly params?: object
  readonly message?: string | undefined
}

/** What is wrong with a value, one line each, in the words of who wrote it: `/gateway/workers: must be integer`. */
export function faultsOf(schema: TSchema, value: unknown): string[] {
  return sayFaults(Value.Errors(schema, value), schema)
}

/** The same for errors that somebody else found. */
export function sayFaults(errors: readonly SchemaError[], schema?: TSchema): string[] {
  return [...new Set(placedFaults(errors, schema).map(({ at, text }) => `${at || '/'}: ${text}`))]
}

interface Fault {
  readonly at: string
  readonly text: string
}

/**
 * Each error as a place and what is wrong there. A pattern is said by the `description` of its schema where `schema` is
 * given: people read that, and not a regular expression.
 */
export function placedFaults(errors: readonly SchemaError[], schema?: TSchema): Fault[] {
  const choices = new Map<string, string[]>()
  for (const error of errors) {
    if (error.keyword !== 'const') continue
    const allowed = choices.get(error.instancePath) ?? []
    choices.set(error.instancePath, [...allowed, String((error.params as { allowedValue?: unknown }).allowedValue)])
  }
  return errors.flatMap(error => faultOf(error, choices, schema))
}

function faultOf(error: SchemaError, choices: ReadonlyMap<string, string[]>, schema: TSchema | undefined): Fault[] {
  const { instancePath: at, params = {} } = error
  const here = (text: string) => [{ at, text }]
  const { requiredProperties = [], additionalProperties = [] } = params as Record<string, string[]>
  switch (error.keyword) {
    case 'required':
      return requiredProperties.map(name => ({ at: `${at}/${name}`, text: 'is missing' }))
    case 'additionalProperties':
      return additionalProperties.map(name => ({ at: `${at}/${name}`, text: 'is unknown here' }))
    case 'boolean': // the same as additionalProperties, said a second time
      return []
    case 'const':
      return here(`must be ${either(choices.get(at) ?? [])}`)
    case 'anyOf':
      return choices.has(at) ? [] : here('fits none of the forms that are allowed here')
    case 'pattern':
      return here(
        descriptionAt(schema, error.schemaPath) ??
          idForm(params as { pattern?: unknown }) ??
          error.message ??
          'has the wrong form',
      )
    default:
      return here(error.message ?? 'is wrong')
  }
}

function either(words: readonly string[]): string {
  return words.length < 2 ? (words[0] ?? 'another value') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}

/** Ids are `req_` and 26 characters: saying so is enough. */
function idForm({ pattern }: { pattern?: unknown }): string | undefined {
  const kind = typeof pattern === 'string' ? /^\^([a-z]{3}_)\[/.exec(pattern)?.[1] : undefined
  return kind === undefined ? undefined : `is no id of the form ${kind}…`
}

function descriptionAt(schema: TSchema | undefined, path: string | undefined): string | undefined {
  let here: unknown = schema
  for (const step of path?.split('/').slice(1) ?? []) here = (here as Record<string, unknown> | undefined)?.[step]
  const { description } = (here ?? {}) as { description?: unknown }
  return typeof description === 'string' ? description : undefined
}
