import { describe, expect, test } from 'vitest'
import { isScope, scopesAllow } from '../../src/policy/scopes.ts'
import { accessInput, actionInput, adminInput, engineer, engineOn } from './support.ts'

describe('token scopes', () => {
  test.each([
    '*',
    'access:request',
    'access:*',
    'admin:sessions.list',
    'admin:sessions.*',
    'replay:masked',
    'approve:approve',
  ])('%s is a scope', scope => {
    expect(isScope(scope)).toBe(true)
  })

  test.each([
    '',
    '**',
    'admin',
    'admin:',
    'admin:a*',
    '*:me',
    'action:read',
    'admin:*.list',
    'ADMIN:me',
    'admin:me\n',
    'admin:..*',
  ])('%j is none', scope => {
    expect(isScope(scope)).toBe(false)
  })

  test.each([
    ['admin:sessions.list', 'sessions.list', true],
    ['admin:sessions.*', 'sessions.list', true],
    ['admin:sessions.*', 'sessionsx.list', false],
    ['admin:*', 'tokens.issue', true],
    ['*', 'tokens.issue', true],
    ['access:*', 'tokens.issue', false],
    ['admin:a*', 'abc', false],
  ])('%s covers the call %s: %s', (scope, call, covered) => {
    expect(scopesAllow([scope], 'admin', adminInput(call))).toBe(covered)
  })

  test('a session that may be opened may live and act', () => {
    for (const stage of ['connect', 'live'] as const)
      expect(scopesAllow(['access:connect'], 'access', accessInput({ stage }))).toBe(true)
    expect(scopesAllow(['access:connect'], 'action', actionInput())).toBe(true)
    expect(scopesAllow(['access:request'], 'action', actionInput())).toBe(false)
    expect(scopesAllow([], 'action', actionInput())).toBe(false)
  })

  test('they only subtract: what policy denies stays denied, what they do not cover is token_scope', async () => {
    const engine = await engineOn()
    const by = (...scopes: string[]) => ({ ...engineer, token: { id: 'tok_1', scopes } })
    const one = engine.decide('admin', adminInput('me', by('admin:sessions.list')))
    expect([one.decision.effect, one.decision.code, one.permit]).toEqual(['deny', 'token_scope', null])
    expect(engine.decide('admin', adminInput('me', by('admin:me'))).decision.effect).toBe('allow')
    expect(engine.decide('admin', adminInput('tokens.issue', by('*'))).decision).toMatchObject({
      effect: 'deny',
      code: 'policy',
    })
  })
})
