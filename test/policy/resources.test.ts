import * as rfc8785 from 'canonicalize'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonical, type Json } from '../../src/canonical.ts'
import { Resources, resourceFacts, typed } from '../../src/policy/resources.ts'
import { timeFacts } from '../../src/policy/time.ts'
import { bundleOf, engineOn, newEngine, shop, signed } from './support.ts'

const canonicalize = (rfc8785 as unknown as { default: (value: unknown) => string }).default

describe('resources of the active revision', () => {
  test('are empty before the first, then typed, then those of the next revision', async () => {
    const engine = newEngine()
    const resources = new Resources(engine)
    expect([resources.list(), resources.get('shop-db'), resources.version]).toEqual([[], undefined, null])
    engine.load(signed(await bundleOf(), 1))
    expect(resources.get('shop-db')).toMatchObject({
      host: '127.0.0.1',
      port: 5455,
      secret: 'shop-gateway',
      protocol: shop.protocol,
    })
    expect(resourceFacts(resources.get('shop-db')!)).toEqual(shop)
    expect(resources.version).toBe(1)
    expect(['constructor', '__proto__', 'toString'].map(name => resources.get(name))).toEqual([
      undefined,
      undefined,
      undefined,
    ])
  })

  test('roles are those of the groups, each with its longest time', async () => {
    const resources = new Resources(await engineOn())
    expect(resources.rolesOf({ groups: ['engineers', 'dbas'] }, 'shop-db')).toEqual([
      { role: 'admin', max_s: 3600 },
      { role: 'reader', max_s: 28_800 },
      { role: 'writer', max_s: 14_400 },
    ])
    expect(resources.rolesOf({ groups: ['auditors', 'constructor'] }, 'shop-db')).toEqual([])
    expect(resources.rolesOf({ groups: ['engineers'] }, 'other-db')).toEqual([])
  })

  test('an IPv6 address is split from its port', () => {
    expect(typed('x', { address: '[::1]:5432', labels: {}, protocol: 'p' })).toMatchObject({ host: '::1', port: 5432 })
  })
})

describe('input.time', () => {
  test.each([
    ['UTC', Date.UTC(2026, 10, 21, 0, 5, 59), '2026-11-21', 'Sat', 5],
    ['America/New_York', Date.UTC(2026, 10, 21, 0, 5), '2026-11-20', 'Fri', 19 * 60 + 5],
    ['Asia/Kathmandu', Date.UTC(2026, 0, 1, 18, 15), '2026-01-02', 'Fri', 0],
    ['Europe/Berlin', Date.UTC(2026, 2, 29, 1, 0), '2026-03-29', 'Sun', 180],
  ])('in %s', (zone, ms, date, weekday, minute_of_day) => {
    expect(timeFacts(ms, zone)).toEqual({ date, minute_of_day, now_at_ms: ms, weekday, zone })
  })
})

describe('canonical JSON', () => {
  test('is that of an independent RFC 8785 implementation', () => {
    const text = fc.string({ unit: 'binary' }).filter(s => s.isWellFormed())
    const { tree } = fc.letrec(tie => ({
      tree: fc.oneof(
        { depthSize: 'small' },
        fc.constant(null),
        fc.boolean(),
        fc.maxSafeInteger(),
        text,
        fc.array(tie('tree')),
        fc.dictionary(text, tie('tree')),
      ),
    }))
    fc.assert(
      fc.property(tree, value => canonical(value as Json) === canonicalize(value)),
      { numRuns: 500 },
    )
  })
})
