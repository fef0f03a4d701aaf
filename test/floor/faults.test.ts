import { Type as T } from 'typebox'
import { expect, test } from 'vitest'
import { faultsOf } from '../../src/faults.ts'

const closed = { additionalProperties: false }
const Schema = T.Object(
  {
    state: T.Optional(T.Union([T.Literal('pending'), T.Literal('approved'), T.Literal('denied')])),
    id: T.Optional(T.String({ pattern: '^ses_[0-9a-z]{26}$' })),
    origin: T.Optional(T.String({ pattern: '^https:', description: 'must be https://HOST' })),
    gateway: T.Object({ host: T.String(), workers: T.Integer({ minimum: 1 }) }, closed),
  },
  closed,
)
const good = { gateway: { host: 'a', workers: 1 } }

test.each([
  ['each missing member has a line of its own', {}, ['/gateway: is missing']],
  ['also inside', { gateway: {} }, ['/gateway/host: is missing', '/gateway/workers: is missing']],
  ['what is unknown is named once', { ...good, surprise: 1 }, ['/surprise: is unknown here']],
  ['a choice names what may be chosen', { ...good, state: 'x' }, ['/state: must be pending, approved or denied']],
  ['an id is said by its kind', { ...good, id: 'ses_x' }, ['/id: is no id of the form ses_…']],
  ['a pattern is said in words where there are some', { ...good, origin: 'ftp:' }, ['/origin: must be https://HOST']],
  ['the rest says its bound', { gateway: { host: 'a', workers: 0 } }, ['/gateway/workers: must be >= 1']],
  ['what is no object at all says so', 7, ['/: must be object']],
])('%s', (_, value, faults) => {
  expect(faultsOf(Schema, value)).toEqual(faults)
})

test('what fits has no fault', () => {
  expect(faultsOf(Schema, good)).toEqual([])
})
