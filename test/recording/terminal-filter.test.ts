import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TerminalFilter } from '../../src/recording/terminal-filter.ts'

const filtered = (text: string): string => new TerminalFilter().write(text)

describe('RE6: what a recorded terminal does to the terminal of whoever looks', () => {
  test.each([
    ['a title (OSC 0, 1, 2), ended by BEL or ST', '\x1b]0;rm -rf /\x07\x1b]2;x\x1b\\'],
    ['a link (OSC 8)', '\x1b]8;;https://evil.example\x1b\\\x1b]8;;\x1b\\'],
    ['the clipboard (OSC 52), set or asked', '\x1b]52;c;ZXZpbA==\x07\x1b]52;c;?\x07'],
    ['colours asked or changed (OSC 4, 10, 11, 104)', '\x1b]4;1;?\x07\x1b]11;?\x1b\\\x1b]104\x07'],
    [
      'a notification, a folder, a file of iTerm (OSC 9, 777, 7, 1337)',
      '\x1b]9;x\x07\x1b]777;notify;a;b\x07\x1b]1337;File=:AA\x07',
    ],
    [
      'a device control string: sixel, DECRQSS, settings',
      '\x1bPq#0;2;0;0;0#0~~@@\x1b\\\x1bP$qm\x1b\\\x1bP+q544e\x1b\\',
    ],
    ['APC, PM, SOS', '\x1b_Gf=100;AAAA\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\'],
    [
      'questions that are answered as if typed (DA, DSR, DECRQM, DECREQTPARM)',
      '\x1b[c\x1b[>c\x1b[=c\x1b[5n\x1b[6n\x1b[?6n\x1b[?2026$p\x1b[x',
    ],
    ['ENQ, which sends the answerback, BEL and NUL', '\x05\x07\x00'],
    ['the window: moved, iconified, its title reported', '\x1b[3;0;0t\x1b[2t\x1b[21t'],
    ['mouse, focus and paste modes', '\x1b[?1000h\x1b[?1002;1006h\x1b[?1004h\x1b[?2004h'],
    ['keyboard modes', '\x1b=\x1b>\x1b[>4;2m\x1b[>1u\x1b[20h\x1b[2h'],
    ['printing', '\x1b[5i\x1b[4i\x1b[?5i'],
    ['a reset of everything, and a screen of 132 columns', '\x1bc\x1b[!p\x1b[?3h\x1b#8'],
    ['more repetitions and rows than there can be', 'x\x1b[99999b\x1b[1;99999r'.slice(1)],
    ['C1 controls, alone', '\u009b\u009d\u0090\u0085\u009c'],
    ['text that reads from right to left', '\u202e\u2066\u2069\u200f'],
    ['other character sets and locking shifts', '\x1b(K\x1b*0\x1bn\x1b%G'],
  ])('loses %s', (_, sequence) => {
    expect(filtered(`a${sequence}b`)).toBe('ab')
  })

  test.each([
    ['colours', '\x1b[1;31mred\x1b[0m \x1b[38;5;196mx\x1b[38;2;1;2;3my\x1b[4:3mz\x1b[m'],
    ['moves', '\x1b[H\x1b[2;3H\x1b[A\x1b[10C\x1b[5d\x1b[7G\x1b7\x1b8\x1b[s\x1b[u'],
    ['erasing, inserting, scrolling', '\x1b[2J\x1b[K\x1b[3X\x1b[2L\x1b[M\x1b[4P\x1b[2@\x1b[1;24r\x1b[r\x1b[S\x1bM'],
    ['the other screen, and the cursor hidden', '\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l'],
    ['lines and corners', '\x1b(0lqk\x1b(B\x1b)0\x0eqq\x0f'],
    ['tabs, returns, backspaces', 'a\tb\r\nc\bd'],
    ['letters of all scripts, emoji joined', 'häuser 日本語 👩‍👩‍👧'],
  ])('keeps %s', (_, text) => {
    expect(filtered(text)).toBe(text)
  })

  test('keeps of several modes those that are harmless', () => {
    expect(filtered('\x1b[?25;1000;2004l')).toBe('\x1b[?25l')
  })

  test('a sequence that another one interrupts hides nothing of what follows', () => {
    expect(filtered('\x1b]0;never ended\x1b[31mred')).toBe('\x1b[31mred')
    expect(filtered('\x1b[31\x1b[32mgreen')).toBe('\x1b[32mgreen')
    expect(filtered('\x1bPabc\x18visible')).toBe('visible')
    expect(filtered(`\x1b[${'1;'.repeat(500)}mtext`)).toBe('text')
  })

  test('is the same wherever the text is split', () => {
    const parts = fc.oneof(
      fc.constantFrom(
        '\x1b',
        '[',
        ']',
        'P',
        '\\',
        '?',
        ';',
        '52',
        '1049',
        'h',
        'm',
        'c',
        'n',
        '\x07',
        '\u009b',
        '(',
        '0',
        'ä',
        '👩',
      ),
      fc.string({ unit: 'binary', maxLength: 4 }),
    )
    fc.assert(
      fc.property(fc.array(parts, { maxLength: 40 }), pieces => {
        const filter = new TerminalFilter()
        const split = pieces.map(piece => filter.write(piece)).join('')
        const whole = filtered(pieces.join(''))
        expect(split).toBe(whole)
        expect(harmless(whole)).toBe('')
        expect(filtered(whole)).toBe(whole)
      }),
      { numRuns: 3_000 },
    )
  })

  test('puts the viewer’s terminal back: screen, colours, cursor', () => {
    const filter = new TerminalFilter()
    filter.write('\x1b[?1049h\x1b[5;10r\x1b[?25l\x1b[31m')
    expect(filter.restore()).toMatch(/\x1b\[r.*\x1b\[\?1049l.*\x1b\[0m.*\x1b\[\?7;25h/)
    expect(new TerminalFilter().restore()).not.toContain('1049')
  })
})

/** A second reading, by another way: what is left when everything that may stand there is taken out. */
function harmless(text: string): string {
  return text
    .replaceAll(/\x1b\[\?(1|6|7|12|25|47|104[789])(;(1|6|7|12|25|47|104[789]))*[hl]/g, '')
    .replaceAll(/\x1b\[4[hl]/g, '')
    .replaceAll(/\x1b\[[0-9;:]*[A-MPSTXZ@`abdefmrsu]/g, '')
    .replaceAll(/\x1b[78DEM]|\x1b[()][B0]/g, '')
    .replaceAll(/[\b\t\n\v\f\r\x0e\x0f]/g, '')
    .replaceAll(/[^\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '')
}
