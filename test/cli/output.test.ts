import { describe, expect, test, vi } from 'vitest'
import { impactMarkdown } from '../../src/cli/impact-page.ts'
import { jsonText } from '../../src/cli/output.ts'
import { JsonScreen } from '../../src/cli/screens.ts'
import type { Group } from '../../src/policy/impact/groups.ts'
import type { ImpactReport } from '../../src/policy/impact/impact.ts'

/** C1 controls are obeyed by terminals that read UTF-8; `JSON.stringify` leaves them, DEL and turned text as they are. */
const obeyed = '\u009b2J\u009d0;title\u009c\u007f\u202etxt.\u2066'
const inert = /^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]*$/

describe('JSON on a terminal', () => {
  test('holds nothing that a terminal obeys, and means the same', () => {
    const text = jsonText({ reason: obeyed, [obeyed]: 'é' }, 2)
    expect(text).toMatch(inert)
    expect(JSON.parse(text)).toEqual({ reason: obeyed, [obeyed]: 'é' })
  })

  test('of a replay holds nothing that a terminal obeys either', () => {
    const printed: string[] = []
    const write = vi.spyOn(process.stdout, 'write').mockImplementation(text => printed.push(String(text)) > 0)
    const line = { kind: 'out', text: obeyed }
    new JsonScreen().show(line, JSON.stringify(line))
    write.mockRestore()
    expect(printed.join('')).toMatch(inert)
    expect(JSON.parse(printed.join(''))).toEqual(line)
  })
})

describe('the impact of a change as Markdown', () => {
  /** As GitHub splits a row of a table: a bar ends its cell unless a backslash stands before it that is not escaped itself. */
  const cellsOf = (row: string) => row.match(/(?:\\[\\|]|[^|])+/g)!.map(cell => cell.trim())

  test('keeps what people are called in its cell, whatever they are called', () => {
    const name = '\\| @everyone <img src=x> \\'
    const side = { effect: 'deny', code: 'policy', reasons: [] } as const
    const group: Group = {
      ...{ point: 'access', change: 'denied', before: { ...side, effect: 'allow' }, after: side, details: [] },
      ...{ subject: { id: 'sub_1', name }, resource: 'a|b', role: 'reader' },
      ...{ count: 1, first_at_ms: 1, last_at_ms: 1, examples: ['dec_1'] },
    }
    const at = (commit: string) => ({ name: commit, commit, digest: commit })
    const none = { denied: 1, allowed: 0, asked: 0, terms: 0, masking: 0, recording: 0, retention: 0, alerts: 0 }
    const report: ImpactReport = {
      ...{
        base: at('aaaa'),
        head: at('bbbb'),
        identical: false,
        read: 1,
        judged: 1,
        same: 0,
        reworded: 0,
        partial: 0,
        left: 0,
      },
      ...{ changes: { ...none, decision_log: 0 }, groups: [group], first_at_ms: 1, last_at_ms: 1 },
      skipped: { not_recorded: 0, misfit: 0, unreadable: 0 },
    }
    const row = impactMarkdown(report)
      .split('\n')
      .find(line => line.includes('@everyone'))!
    const cells = cellsOf(row).filter(cell => cell !== '')
    expect(cells).toHaveLength(7)
    for (const cell of [cells[1], cells[2]]) expect(cell).toMatch(/^`[^`]*`$/)
  })
})
