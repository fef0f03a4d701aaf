import { describe, expect, test } from 'vitest'
import { advanced, indexAfter, timeText } from '../../src/web/replay/clock.ts'
import { channelsOf, factsOf, isMoment, rowsOf, visible } from '../../src/web/replay/event-text.ts'

const clock = { at: 0, playing: true, speed: 1, skipIdle: false }

describe('the clock of a replay', () => {
  test('goes with the time of the viewer, faster or slower, and stops at the end', () => {
    expect(advanced(clock, 50, [0, 500], 1_000).at).toBe(50)
    expect(advanced({ ...clock, speed: 16 }, 50, [0, 500], 1_000).at).toBe(800)
    expect(advanced({ ...clock, at: 990 }, 50, [], 1_000)).toMatchObject({ at: 1_000, playing: false })
    expect(advanced({ ...clock, playing: false, at: 7 }, 50, [], 1_000).at).toBe(7)
  })

  test('skips what is idle, to a moment before something happens, and no other time', () => {
    const times = [0, 60_000, 60_500]
    expect(advanced({ ...clock, skipIdle: true }, 50, times, 61_000).at).toBe(59_700)
    expect(advanced({ ...clock, skipIdle: true, at: 59_700 }, 50, times, 61_000).at).toBe(59_750)
    expect(advanced({ ...clock, skipIdle: true, at: 60_000 }, 50, times, 61_000).at).toBe(60_050)
    expect(advanced(clock, 50, times, 61_000).at).toBe(50)
  })

  test('finds the place of a moment among times in order', () => {
    expect([-1, 0, 5, 10, 11].map(at => indexAfter([0, 10, 10, 20], at))).toEqual([0, 1, 1, 3, 3])
    expect([timeText(0), timeText(61_500), timeText(3_723_000)]).toEqual(['0:00', '1:01', '1:02:03'])
  })
})

describe('an event on the page', () => {
  test('RE6: what a terminal or a browser would obey is shown as an escape', () => {
    expect(visible('a\u001b]52;c;x\u0007\u202eb\nc')).toBe('a\\u001b]52;c;x\\u0007\\u202eb\nc')
    expect(factsOf({ kind: 'x', at_ms: 1, evil: '\u001b[2J', nested: { a: '\u0007' } })).not.toMatch(/[\u0000-\u001f]/)
  })

  test('rows are bounded; terminals are channels and no moments', () => {
    const rows = rowsOf({ kind: 'rows', columns: [{ name: 'a' }], values: [[1], [null], [{ b: 1 }]] }, 2)
    expect(rows).toEqual({ names: ['a'], rows: [['1'], ['∅']], more: 1 })
    const output = { kind: 'output', at_ms: 1, conn: 'con_abcdef123456', channel: 0 }
    expect(channelsOf([output, output, { ...output, channel: 2 }])).toEqual(['123456:0', '123456:2'])
    expect([isMoment(output), isMoment({ kind: 'statement', at_ms: 1 }), isMoment({ kind: 'statement' })]).toEqual([
      false,
      true,
      false,
    ])
  })
})
