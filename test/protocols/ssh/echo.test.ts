import { describe, expect, test } from 'vitest'
import { Echo } from '../../../src/protocols/ssh/relay/echo.ts'

/** What was typed (`<`) and shown (`>`), in turn. @returns what counts as hidden. */
function hidden(...turns: readonly string[]): string[] {
  const echo = new Echo()
  const all = turns.filter(turn => turn[0] === '<').map(turn => turn.slice(1))
  const input = Buffer.from(all.join(''))
  const spans = turns.flatMap(turn => {
    const bytes = Buffer.from(turn.slice(1))
    return turn[0] === '<' ? echo.typed(bytes) : echo.shown(bytes)
  })
  return [...spans, ...echo.end()].map(({ from, to }) => input.subarray(from, to).toString())
}

describe('what a terminal shows of what is typed', () => {
  test.each<[string, string[], string[]]>([
    ['a command is not hidden', ['<ls\r', '>ls\r\nfile\r\n$ '], []],
    ['letter by letter neither', ['<l', '>l', '<s', '>s', '<\r', '>\r\n'], []],
    ['a password is', ['>Password: ', '<secret\r', '>\r\n$ '], ['secret\r']],
    [
      'only the password is',
      ['<sudo x\r', '>sudo x\r\n[sudo] password: ', '<hunter2\r', '>\r\n', '<id\r', '>id\r\n'],
      ['hunter2\r'],
    ],
    ['a password whose letters come in what follows is', ['<root\r', '>\r\nroot@web:~# '], ['root\r']],
    ['one shown as stars is', ['<abc\r', '>***\r\n'], ['abc\r']],
    ['one that was mended is', ['<secrex\x7ft\r', '>\r\n'], ['secrex\x7ft\r']],
    ['one that was given up is', ['<secret\x03', '>^C\r\n'], ['secret\x03']],
    ['one without its end when the channel closes is', ['<sec'], ['sec']],
    ['arrows and pasted brackets are no text', ['<\x1b[A\x1bOB\x1b[200~ls\x1b[201~\r', '>ls\r\n'], []],
    ['an empty line says nothing', ['<\r', '>\r\n'], []],
    ['colours between the letters do no harm', ['<ls\r', '>\x1b[32ml\x1b[1ms\x1b[0m\r\n'], []],
    ['other letters than Latin ones are shown too', ['<ñ漢\r', '>ñ漢\r\n'], []],
  ])('%s', (_name, turns, expected) => {
    expect(hidden(...turns)).toEqual(expected)
  })

  test('lines that nobody answers are not kept for ever', () => {
    const echo = new Echo()
    const spans = echo.typed(Buffer.from('x\r'.repeat(1000)))
    expect(spans.length).toBeGreaterThan(700)
  })
})
