import { DrizzleQueryError } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { SallyportError } from '../src/errors.ts'
import { faultFacts, faultMessage } from '../src/log.ts'

const secret = 'SECRET-canary'

test('LC4: a failed statement is logged without its parameters, wherever in the chain of causes it stands', () => {
  const cause = Object.assign(new Error('invalid byte sequence'), {
    code: '22021',
    detail: secret,
    parameters: [secret],
  })
  const failed = new DrizzleQueryError('insert into t values ($1)', [secret], cause)
  const told = new SallyportError('audit_unavailable', 'the decision could not be written', { cause: failed })
  const text = JSON.stringify(faultFacts(told))
  expect(text).not.toContain(secret)
  expect(text).toContain('invalid byte sequence')
  expect(text).toContain('22021')
  expect(text).toContain('log.test.ts')
  expect(faultMessage(failed)).toBe('a statement failed: invalid byte sequence')
})

test('LC4: what a library hangs on its error (a request with its headers) is not logged', () => {
  const error = Object.assign(new Error('A request error occurred'), {
    code: 'slack_webapi_request_error',
    original: { config: { headers: { Authorization: `Bearer ${secret}` } }, toJSON: () => secret },
  })
  const text = JSON.stringify(faultFacts(error))
  expect(text).not.toContain(secret)
  expect(text).toContain('slack_webapi_request_error')
})

test('a parameter that looks like a stack frame does not come through as one', () => {
  const failed = new DrizzleQueryError('select $1', [`x\n    at ${secret} (file.ts:1:1)`], new Error('no'))
  expect(JSON.stringify(faultFacts(failed))).not.toContain(secret)
})

test('a cycle of causes ends', () => {
  const error = new Error('round')
  error.cause = error
  expect(JSON.stringify(faultFacts(error)).length).toBeLessThan(50_000)
})
