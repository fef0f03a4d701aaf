/**
 * The command line of an exec request in a policy's terms. The target's login shell reads the line, so words exist only
 * where every shell sees the same ones (IEEE Std 1003.1 §2.2, §2.3, §2.10; csh and fish too): plain words, quotes and
 * backslashes. Inside quotes no two families of shells agree on what a backslash does, so none has words.
 * INVARIANT: whatever a shell would do more than split (expand, substitute, redirect, chain, assign, run by a reserved
 * word) makes `argv` null. A rule on `argv` then decides exactly on what runs.
 */
export interface Command {
  readonly argv: readonly string[] | null
  /** The first word, as written: `uptime`, `/usr/bin/df`. Null where `argv` is. */
  readonly program: string | null
  /** Why there are no words; null where there are. */
  readonly shell_syntax: string | null
}

export const maxCommandLength = 64 * 1024
const maxWords = 1024

/** Outside quotes these are never part of a plain word. */
const meaning: Readonly<Record<string, string>> = {
  ';': 'a chain',
  '&': 'a chain',
  '|': 'a pipe',
  '<': 'a redirection',
  '>': 'a redirection',
  '(': 'a subshell',
  ')': 'a subshell',
  $: 'an expansion',
  '`': 'a substitution',
  '*': 'a pattern',
  '?': 'a pattern',
  '[': 'a pattern',
  ']': 'a pattern',
  '{': 'a brace',
  '}': 'a brace',
  '~': 'a home directory',
  '!': 'a history expansion or negation',
  '^': 'a pipe of old shells or a pattern',
  '#': 'a comment',
}
const reserved = new Set(
  'if then else elif fi do done case esac while until for in select function time coproc'.split(' '),
)
/** What is inside double quotes more than itself. `!` is history in interactive shells only, yet csh knows no difference. */
const inDouble: Readonly<Record<string, string>> = {
  $: 'an expansion',
  '`': 'a substitution',
  '!': 'a history expansion',
}
const backslash = 'a backslash that shells read differently'
const assignment = /^[A-Za-z_]\w*\+?=/

class Shell extends Error {}

/** Never throws. */
export function parseCommand(line: string): Command {
  try {
    const argv = split(line)
    return { argv, program: argv[0]!, shell_syntax: null }
  } catch (error) {
    if (!(error instanceof Shell)) throw error
    return { argv: null, program: null, shell_syntax: error.message }
  }
}

function split(line: string): string[] {
  if (line.length > maxCommandLength) throw new Shell('a line that is too long')
  if (/[^\P{Cc}\t]/u.test(line)) throw new Shell('control characters')
  if (!line.isWellFormed() || line.includes('\ufffd')) throw new Shell('bytes that are no UTF-8')
  const words: string[] = []
  let at = 0
  for (;;) {
    while (line[at] === ' ' || line[at] === '\t') at++
    if (at === line.length) break
    if (words.length === maxWords) throw new Shell('too many words')
    const word = readWord(line, at)
    at = word.end
    if (!word.quoted && words.length === 0 && reserved.has(word.text)) throw new Shell('a reserved word')
    if (words.length === 0 && word.text.startsWith('%')) throw new Shell('a job')
    // An assignment in front changes how the command runs; `FOO\=bar` is none, and no program has such a name.
    if (words.length === 0 && assignment.test(word.text)) throw new Shell('an assignment')
    words.push(word.text)
  }
  if (words.length === 0) throw new Shell('nothing')
  if (words[0] === '') throw new Shell('a program without a name')
  return words
}

function readWord(line: string, from: number): { text: string; quoted: boolean; end: number } {
  let text = ''
  let quoted = false
  let at = from
  for (; at < line.length; at++) {
    const char = line[at]!
    if (char === ' ' || char === '\t') break
    if (char === "'") {
      const end = line.indexOf("'", at + 1)
      if (end < 0) throw new Shell('a quote without an end')
      const inside = line.slice(at + 1, end)
      if (inside.includes('!')) throw new Shell('a history expansion')
      if (inside.includes('\\')) throw new Shell(backslash)
      text += inside
      quoted = true
      at = end
    } else if (char === '"') {
      const part = readDouble(line, at + 1)
      text += part.text
      quoted = true
      at = part.end
    } else if (char === '\\') {
      const next = line[++at]
      if (next === undefined) throw new Shell('a backslash at the end')
      // fish makes other characters of these, and a shell of an old multi-byte locale may take it for half of one.
      if (/[^ -/:-@[-`{-~]/.test(next) || /[^ -~\t]/.test(line)) throw new Shell(backslash)
      text += next
      quoted = true
    } else {
      const what = meaning[char]
      if (what !== undefined) throw new Shell(what)
      // zsh expands `=program`, and some shells a `~` after it.
      if (char === '=' && at === from) throw new Shell('an expansion')
      text += char
    }
  }
  return { text, quoted, end: at }
}

function readDouble(line: string, from: number): { text: string; end: number } {
  let text = ''
  for (let at = from; at < line.length; at++) {
    const char = line[at]!
    if (char === '"') return { text, end: at }
    if (inDouble[char] !== undefined) throw new Shell(inDouble[char])
    if (char === '\\') throw new Shell(backslash)
    text += char
  }
  throw new Shell('a quote without an end')
}
