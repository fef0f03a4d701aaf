import { Type as T } from 'typebox'
import { actionOf, actionSchemaOf } from '../../gateway/action-facts.ts'
import type { ActionFacts } from '../../policy/points.ts'

const closed = { additionalProperties: false }
const Text = T.String()
const Nullable = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])
const Direction = T.Union([T.Literal('upload'), T.Literal('download'), T.Literal('both'), T.Literal('none')])
const Forwarded = T.Union([
  T.Literal('local'),
  T.Literal('remote'),
  T.Literal('streamlocal'),
  T.Literal('remote-streamlocal'),
])

/** What policy is told of each kind of action, as `input.action.facts`. */
export const facts = {
  shell: T.Object({ pty: T.Boolean(), term: Text }, closed),
  /** `argv` is null where the command line is more than plain words: policy cannot know what a shell makes of it. */
  exec: T.Object({ command: Text, argv: Nullable(T.Array(Text)), program: Nullable(Text), pty: T.Boolean() }, closed),
  subsystem: T.Object({ name: Text }, closed),
  pty: T.Object({ term: Text }, closed),
  env: T.Object({ name: Text }, closed),
  signal: T.Object({ name: Text }, closed),
  sftp: T.Object(
    { operation: Text, path: Text, target_path: Nullable(Text), direction: Direction, flags: T.Array(Text) },
    closed,
  ),
  scp: T.Object({ direction: Direction, path: Text }, closed),
  forward: T.Object({ kind: Forwarded, host: Text, port: T.Integer(), path: Text }, closed),
  agent: T.Object({}, closed),
  x11: T.Object({}, closed),
} as const

export type Kind = keyof typeof facts
export type Verb = ActionFacts['verb']

export const ActionSchema = actionSchemaOf('ssh', facts)

export const action = actionOf('ssh', facts)
