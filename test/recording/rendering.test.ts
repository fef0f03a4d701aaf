import { describe, expect, test } from 'vitest'
import { createPlayback, jsonLine, parseLine, renderLine } from '../../src/recording/render.ts'

const base = { at_ms: Date.UTC(2026, 10, 21, 3, 4, 5, 678), part: 1, seq: 1, conn: 'con_abcdef' }

describe('a recording as text', () => {
  test('shows time, connection, kind, facts, statement and rows', () => {
    const text = renderLine({
      ...base,
      kind: 'result',
      tag: 'SELECT 2',
      text: 'select *\nfrom t',
      columns: ['id', 'name'],
      values: [
        ['1', null],
        ['2', 'Ada'],
      ],
    })
    expect(text.split('\n')).toEqual([
      '03:04:05.678 abcdef result tag=SELECT 2',
      '    select *',
      '    from t',
      '    id | name',
      '    1 | ∅',
      '    2 | Ada',
    ])
  })

  test('RE6: what was recorded cannot steer the terminal or fake a line', () => {
    const text = renderLine({
      ...base,
      kind: 'statement',
      text: '\u001b]52;c;ZXZpbA==\u0007 \u202e',
      user: 'a\nb\r\u009b2J',
    })
    expect([...text].filter(char => /[\p{Cc}\p{Cf}]/u.test(char) && char !== '\n')).toEqual([])
    expect(text.split('\n')).toHaveLength(2)
    expect(text).toContain('\\u001b]52;c;')
  })

  test('a hole is a line of its own', () => {
    expect(renderLine({ ...base, kind: 'gap', from_seq: 5, to_seq: null })).toBe(
      '--- part 1: events from 5 on are missing ---',
    )
    expect(renderLine({ kind: 'end', ok: false, problem: 'part 1, segment 2: cut' })).toContain('does not verify')
  })

  test('RE6: JSON is one line an event, with bytes as base64 and big integers as text', () => {
    const line = jsonLine({
      kind: 'x',
      text: 'a\nb',
      bytes: Buffer.from([1, 2]),
      more: new Uint8Array([3]),
      n: 2n ** 60n,
    })
    expect(line).not.toContain('\n')
    expect(parseLine(line)).toEqual({
      kind: 'x',
      text: 'a\nb',
      bytes: { base64: 'AQI=' },
      more: { base64: 'Aw==' },
      n: '1152921504606846976',
    })
    expect(() => parseLine('{"a": 1}')).toThrow('no kind')
  })

  test('playback keeps the pauses, scaled, and cuts long ones', async () => {
    const playback = createPlayback({ speed: 2, maxPauseMs: 60 })
    const start = performance.now()
    await playback.due({ ...base, kind: 'a' })
    await playback.due({ ...base, at_ms: base.at_ms + 80, kind: 'b' })
    expect(performance.now() - start).toBeGreaterThanOrEqual(38)
    await playback.due({ ...base, at_ms: base.at_ms + 3_600_000, kind: 'c' }) // the hour is cut, or this test would not end
    expect(() => createPlayback({ speed: 0 })).toThrow(RangeError)
  })
})
