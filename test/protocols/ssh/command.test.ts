import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { maxCommandLength, parseCommand } from '../../../src/protocols/ssh/command.ts'

describe('command lines that are plain words', () => {
  const plain: readonly [string, readonly string[]][] = [
    ['uptime', ['uptime']],
    ['  df \t -h   /srv  ', ['df', '-h', '/srv']],
    ['echo \'a  b\' "c d" e\\ f', ['echo', 'a  b', 'c d', 'e f']],
    ["echo 'it'\\''s'", ['echo', "it's"]],
    ["echo '$HOME' '`id`' ';' '|'", ['echo', '$HOME', '`id`', ';', '|']],
    ["echo ''", ['echo', '']],
    ['a"b"\'c\'d', ['abcd']],
    ['echo if then FOO=bar --x=y', ['echo', 'if', 'then', 'FOO=bar', '--x=y']],
    ['date +%s', ['date', '+%s']],
    ["'if' x", ['if', 'x']],
    ['rsync --server -vlogDtpre.iLsfxCIvu . /srv', ['rsync', '--server', '-vlogDtpre.iLsfxCIvu', '.', '/srv']],
    ["git-upload-pack 'team/repo.git'", ['git-upload-pack', 'team/repo.git']],
    ['scp -t -- /tmp/Grüße', ['scp', '-t', '--', '/tmp/Grüße']],
  ]
  test.each(plain)('%j', (line, argv) => {
    expect(parseCommand(line)).toEqual({ argv, program: argv[0], shell_syntax: null })
  })
})

describe('command lines that are more', () => {
  test.each([
    ['uptime; id', 'a chain'],
    ['uptime && id', 'a chain'],
    ['uptime&', 'a chain'],
    ['uptime\nid', 'control characters'],
    ['uptime\rid', 'control characters'],
    ['uptime\0id', 'control characters'],
    ['uptime | sh', 'a pipe'],
    ['uptime > /etc/passwd', 'a redirection'],
    ['cat < /etc/shadow', 'a redirection'],
    ['cat <<< x', 'a redirection'],
    ['(id)', 'a subshell'],
    ['echo $(id)', 'an expansion'],
    ['echo "$(id)"', 'an expansion'],
    ['echo $' + '{IFS}', 'an expansion'],
    ["echo $'a'", 'an expansion'],
    ['echo `id`', 'a substitution'],
    ['echo "`id`"', 'a substitution'],
    ['cat /etc/*', 'a pattern'],
    ['cat /etc/passw?', 'a pattern'],
    ['cat [a-z]', 'a pattern'],
    ['echo {a,b}', 'a brace'],
    ['cat ~root/x', 'a home directory'],
    ['cat a=~root', 'a home directory'],
    ['! uptime', 'a history expansion or negation'],
    ['echo "!!"', 'a history expansion'],
    ['echo # x', 'a comment'],
    ['LD_PRELOAD=/tmp/x.so uptime', 'an assignment'],
    ['PATH+=/tmp uptime', 'an assignment'],
    ['if true', 'a reserved word'],
    ['time uptime', 'a reserved word'],
    ["echo 'a", 'a quote without an end'],
    ['echo "a', 'a quote without an end'],
    ['echo "a\\', 'a backslash that shells read differently'],
    ['df "\\"; touch /tmp/x; echo "\\"', 'a backslash that shells read differently'], // csh runs touch
    ["df '\\' '; touch /tmp/x #'", 'a backslash that shells read differently'], // fish does
    ['df \\x2d', 'a backslash that shells read differently'], // fish: -
    ['df \u3042\\;id', 'a backslash that shells read differently'], // GBK: the backslash is half of a character
    ['echo a\\', 'a backslash at the end'],
    ['=uptime', 'an expansion'],
    ['%1', 'a job'],
    ['', 'nothing'],
    [' \t ', 'nothing'],
    ["'' uptime", 'a program without a name'],
    ['echo \ufffd', 'bytes that are no UTF-8'],
    ['echo \ud800', 'bytes that are no UTF-8'],
    ['a '.repeat(1025), 'too many words'],
    ['a'.repeat(maxCommandLength + 1), 'a line that is too long'],
  ])('%.40j is %s, and has no words', (line, why) => {
    expect(parseCommand(line)).toEqual({ argv: null, program: null, shell_syntax: why })
  })
})

const piece = fc.oneof(
  { weight: 4, arbitrary: fc.stringMatching(/^[\w./:@,+=-]{1,6}$/) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(' ', '\t', "'", '"', '\\', '$', '`', ';', '*', '~', '#', '!', '=', '{', '&', '%', '^'),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 3 }) },
)

test('whatever is taken as words, dash and bash split into the same words', () => {
  const lines = fc.sample(
    fc.array(piece, { minLength: 1, maxLength: 8 }).map(parts => parts.join('')),
    { seed: 7, numRuns: 6000 },
  )
  const taken = lines.map(line => ({ line, argv: parseCommand(line).argv })).filter(({ argv }) => argv !== null)
  expect(taken.length).toBeGreaterThan(300)
  for (const shell of ['dash', 'bash']) {
    // The first word becomes an argument of printf: only the splitting is asked for, nothing of it runs.
    const script = taken.map(({ line }) => `printf '%s\\0' ${line}\nprintf '\\1\\0'`).join('\n')
    const out = execFileSync(shell, ['-c', script], {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
      env: { LC_ALL: 'C.UTF-8', PATH: process.env['PATH'] },
    })
    const got = out
      .split('\u0001\0')
      .slice(0, -1)
      .map(words => words.split('\0').slice(0, -1))
    expect(got).toEqual(taken.map(({ argv }) => argv))
  }
})

test('nothing that comes makes it throw', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 60 }),
        fc.array(piece).map(parts => parts.join('')),
      ),
      line => {
        const { argv, program, shell_syntax } = parseCommand(line)
        expect(argv === null).toBe(program === null)
        expect(argv === null).toBe(shell_syntax !== null)
      },
    ),
  )
})
