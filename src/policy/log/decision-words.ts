const maxWords = 64
const maxWordChars = 48
const maxChars = 8_192
const maxQueryWords = 8
const word = /[\p{L}\p{N}_]+/gu

/** What of an input says who, what and why. Clocks, digests, claims and address ranges would fill the index and answer nobody. */
const unsaid: ReadonlySet<string> = new Set([
  'claims',
  'date',
  'groups_at_ms',
  'issuer',
  'labels',
  'scopes',
  'time',
  'weekday',
])

/** What a decision can be found by: words of its input and reasons as they are stored, and the rules that made it. */
export function wordsOf(
  decision: { resource: string | null; reasons: readonly { rule: string; message: string }[] },
  input: unknown,
): string[] {
  const words = new Set<string>()
  for (const { rule } of decision.reasons) words.add(ruleWord(rule))
  const said: string[] = []
  for (const { message } of decision.reasons) said.push(message)
  if (decision.resource !== null) said.push(decision.resource)
  collect(input, said, 0)
  let left = maxChars
  for (const text of said) {
    for (const found of split(text.slice(0, left))) {
      if (words.size === maxWords) return [...words]
      words.add(found)
    }
    left -= text.length
    if (left <= 0) break
  }
  return [...words]
}

/** The word that a rule is found by; no word of a text has a `=`. */
export function ruleWord(rule: string): string {
  return `rule=${rule}`.slice(0, 256)
}

/** What finds the decisions that hold all words of this text, the last one from its beginning; null where it holds none. */
export function wordQuery(text: string): string | null {
  const words = [...new Set(split(text))].slice(0, maxQueryWords)
  if (words.length === 0) return null
  return words.map((each, i) => quoted(each) + (i === words.length - 1 ? ':*' : '')).join(' & ')
}

export function ruleQuery(rule: string): string {
  return quoted(ruleWord(rule))
}

function quoted(lexeme: string): string {
  return `'${lexeme.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}

/** The words of a text, in order. */
export function split(text: string): string[] {
  return (text.toLowerCase().match(word) ?? []).map(each => each.slice(0, maxWordChars))
}

function collect(value: unknown, into: string[], depth: number): void {
  if (typeof value === 'string') into.push(value)
  else if (typeof value === 'object' && value !== null && depth < 8) {
    for (const [name, member] of Object.entries(value)) if (!unsaid.has(name)) collect(member, into, depth + 1)
  }
}
