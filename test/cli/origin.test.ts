import { expect, test, vi } from 'vitest'
import { openClient } from '../../src/cli/client.ts'
import { checkedOrigin } from '../../src/cli/origin.ts'
import { loadProfile } from '../../src/cli/profile.ts'
import { Secret } from '../../src/secret.ts'

test.each([
  ['https://access.example.com', 'https://access.example.com'],
  ['https://access.example.com:8443/', 'https://access.example.com:8443'],
  ['http://127.0.0.1:5450', 'http://127.0.0.1:5450'],
  ['http://[::1]:5450', 'http://[::1]:5450'],
])('%s is a control plane', (text, origin) => {
  expect(checkedOrigin(text)).toBe(origin)
})

test.each([
  'http://access.example.com',
  'http://127.0.0.1.example.com',
  'http://10.0.0.1',
  'https://user:word@access.example.com',
  'https://access.example.com\\@evil.example',
  'https://access.example.com?x',
  'https://access.example.com/path',
  'ftp://access.example.com',
  'file:///etc',
  'access.example.com',
  '',
])('%s gets no credentials', text => {
  expect(() => checkedOrigin(text)).toThrow()
  expect(() => openClient({ origin: text, token: new Secret('t'), name: 'n' })).toThrow()
})

test('a token without the control plane that it is for is not sent to another one', () => {
  vi.stubEnv('SALLYPORT_TOKEN', 'sallyport_tok_x')
  vi.stubEnv('SALLYPORT_ORIGIN', undefined)
  try {
    expect(() => loadProfile(undefined)).toThrow('SALLYPORT_ORIGIN')
  } finally {
    vi.unstubAllEnvs()
  }
})
