import type { TSchema } from 'typebox'
import { ResourcesSchema, RolesSchema } from '../data-schema.ts'
import { type Point, points } from '../points.ts'

/**
 * What is known of a value: the members of a closed object, the values of an open one, the items of a list, the words that
 * a text can be. What is absent is not known, and nothing is said about it.
 */
export interface Shape {
  /** Where it stands, for messages: `input.subject`. */
  readonly at: string
  readonly fields?: ReadonlyMap<string, Shape>
  readonly values?: Shape
  readonly items?: Shape
  readonly words?: readonly string[]
}

/** What this file reads of a TypeBox schema. */
interface Source {
  readonly type?: string
  readonly const?: unknown
  readonly anyOf?: readonly Source[]
  readonly properties?: Readonly<Record<string, Source>>
  readonly patternProperties?: Readonly<Record<string, Source>>
  readonly items?: Source
}

export const inputShapes = shapesOf('input', 'input')
export const resultShapes = shapesOf('result', 'result')

/** What a library may read of its input: it serves several points. */
export const anyInput: Shape = Object.values(inputShapes).reduce(join)

/** `data` of this repository as far as we know it. */
export const dataShapes: Readonly<Record<string, Shape>> = {
  resources: shapeOf(ResourcesSchema as Source, 'data.resources'),
  roles: shapeOf(RolesSchema as Source, 'data.roles'),
}

/** One step into a value by a name or, with `null`, by something that is not known before it runs. */
export function step(shape: Shape, name: string | null): Shape | undefined {
  if (shape.fields !== undefined) return name === null ? undefined : shape.fields.get(name)
  return shape.values ?? shape.items
}

const parts = new WeakMap<Shape, Shape>()

/** A closed object with one member less; the same each time. */
export function without(shape: Shape, name: string): Shape {
  const fields = new Map(shape.fields)
  fields.delete(name)
  const made = parts.get(shape) ?? { at: shape.at, fields }
  parts.set(shape, made)
  return made
}

/** Whether a closed object lacks this member. */
export function lacks(shape: Shape | undefined, name: string): shape is Shape & { fields: ReadonlyMap<string, Shape> } {
  return shape?.fields !== undefined && !shape.fields.has(name)
}

const longestAt = 200

/** Bounded: names that join names would double with each step. */
function either(a: string, b: string): string {
  return a === b || a.length + b.length > longestAt ? a : `${a} or ${b}`
}

/** What holds for a value that is one or the other: what only one of them has may be there. */
export function join(a: Shape, b: Shape): Shape {
  if (a === b) return a
  const at = either(a.at, b.at)
  if (a.fields !== undefined && b.fields !== undefined) {
    const fields = new Map(a.fields)
    for (const [name, member] of b.fields) {
      const same = fields.get(name)
      fields.set(name, same === undefined ? member : join(same, member))
    }
    return { at, fields }
  }
  if (a.values !== undefined && b.values !== undefined) return { at, values: join(a.values, b.values) }
  if (a.items !== undefined && b.items !== undefined) return { at, items: join(a.items, b.items) }
  if (a.words !== undefined && b.words !== undefined) return { at, words: [...new Set([...a.words, ...b.words])] }
  return { at }
}

function shapesOf(side: 'input' | 'result', at: string): Readonly<Record<Point, Shape>> {
  const named = Object.entries(points).map(([name, point]) => [name, shapeOf(point[side] as TSchema as Source, at)])
  return Object.fromEntries(named) as Record<Point, Shape>
}

function shapeOf(source: Source, at: string): Shape {
  if (source.anyOf !== undefined) {
    const rest = source.anyOf.filter(part => part.type !== 'null').map(part => shapeOf(part, at))
    return rest.length === 0 ? { at } : rest.reduce(join)
  }
  if (typeof source.const === 'string') return { at, words: [source.const] }
  if (source.type === 'array') return { at, items: shapeOf(source.items ?? {}, `${at}[_]`) }
  if (source.patternProperties !== undefined) {
    const values = Object.values(source.patternProperties).map(member => shapeOf(member, `${at}[_]`))
    return { at, values: values.reduce(join) }
  }
  if (source.properties === undefined) return { at }
  const members = Object.entries(source.properties)
  return { at, fields: new Map(members.map(([name, member]) => [name, shapeOf(member, `${at}.${name}`)])) }
}
