import { detect } from '../../masking/detectors.ts'
import type { Decision } from '../../policy/decision.ts'
import type { Shown, Waits } from '../protocol.ts'

/** More than this an approver does not read, and what nobody read is not approved. */
export const mostText = 64 * 1024
/** `whole`: lines of what must be read whole. `all`: characters of all other lists together. */
const most = { title: 300, parts: 64, lines: 1_000, whole: 200, line: 500, label: 80, all: 256 * 1024 }

/** What approvers are shown of an action that waits. */
export interface Exhibit {
  readonly title: string
  readonly text: string | null
  readonly shown: readonly Shown[]
}

/** `why`: what policy says. @returns undefined for what is too long to be read whole. */
export function exhibit(waits: Waits, text: string | null, why: readonly string[] = []): Exhibit | undefined {
  if (text !== null && text.length > 2 * mostText) return undefined // before it is looked through
  const shownText = text === null ? null : harmless(text)
  if (shownText !== null && shownText.length > mostText) return undefined
  const reasons = why.length === 0 ? [] : [{ label: 'Why it waits', lines: why }]
  const parts: readonly Shown[] = [...reasons, ...waits.shown()]
  if (parts.length > most.parts || parts.some(isCut)) return undefined
  let room = most.all
  return {
    title: cut(oneLine(waits.title), most.title) || 'an action',
    text: shownText,
    shown: parts.map(({ label, lines, more = 0, whole }) => {
      const shown: string[] = []
      for (const line of lines.slice(0, most.lines)) {
        const said = whole ? oneLine(line) : cut(oneLine(line), most.line)
        if (!whole && (room -= said.length) < 0) break
        shown.push(said)
      }
      const left = more + lines.length - shown.length
      return { label: cut(oneLine(label), most.label), lines: shown, ...(left > 0 ? { more: left } : {}) }
    }),
  }
}

/** What policy says of it, and where that stands. */
export function reasonLines({ reasons }: Pick<Decision<'action'>, 'reasons'>): string[] {
  return reasons.map(({ message, rule, at }) => `${message} (${at === undefined ? rule : `${rule}, ${at}`})`)
}

/** Whether something is missing of what must be shown whole. */
const isCut = ({ lines, more = 0, whole }: Shown): boolean =>
  whole === true &&
  (more > 0 || lines.length > most.whole || lines.reduce((sum, line) => sum + line.length, 0) > mostText)

/** What is obeyed and what nobody sees: two names would look like one. Behind a picture its variant is part of it. */
const unseen =
  /[\p{Cc}\p{Cf}\u2028\u2029]|(?<!\p{Extended_Pictographic})\ufe0f|(?!\ufe0f)[\p{Default_Ignorable_Code_Point}\u2800]/gu

/**
 * Text as it may stand before other people: what would be obeyed, turn the line around or hide is an escape, and what looks
 * like a secret or somebody's number is named and not shown.
 */
export function harmless(text: string): string {
  let out = ''
  let at = 0
  for (const { name, start, end } of detect(text)) {
    if (start < at) continue
    out += `${text.slice(at, start)}[${name}]`
    at = end
  }
  return (out + text.slice(at)).toWellFormed().replace(unseen, char => {
    if (char === '\n' || char === '\t') return char
    return `\\u{${char.codePointAt(0)!.toString(16)}}`
  })
}

const oneLine = (text: string): string => harmless(text).replaceAll('\n', '\\n').replaceAll('\t', ' ')

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).toWellFormed()}…`
}
