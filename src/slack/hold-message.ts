import type { KnownBlock } from '@slack/web-api'
import type { HeldView } from '../approvals/view.ts'
import { code, context, cut, section } from './blocks.ts'

/** Slack refuses a message whose blocks hold more than some 13,000 characters in all; what is escaped counts as it is sent. */
const most = { head: 1300, tail: 550, parts: 8, lines: 12, line: 150, label: 100, all: 4000 }

/** What would be done, as far as it has room: the page has all of it. INVARIANT: what is left out is said. */
export function holdBlocks(hold: HeldView, url: string): KnownBlock[] {
  const blocks: KnownBlock[] = []
  if (hold.text === null) blocks.push(context('Policy records no text here, so none is shown.'))
  else blocks.push(section('What would run:'), code(bothEnds(hold.text, url)))
  let room = most.all
  for (const [i, { label, lines, more = 0 }] of hold.shown.entries()) {
    if (i >= most.parts || room <= 0) {
      const left = hold.shown.length - i
      blocks.push(context(`${left} more part${left === 1 ? ' is' : 's are'} not shown here, read all of it at ${url}`))
      break
    }
    const name = cut(label, most.label)
    room -= weight(name)
    const shown: string[] = []
    for (const line of lines.slice(0, most.lines)) {
      const here = cut(line, most.line)
      room -= weight(here)
      if (room <= 0) break
      shown.push(here)
    }
    const left = more + lines.length - shown.length
    if (left > 0) shown.push(`… and ${left} more: ${url}`)
    blocks.push(section(name), code(shown.join('\n')))
  }
  return blocks
}

/** Characters as JSON sends them: what is not ASCII may go as six. */
const weight = (text: string): number => text.length + 5 * text.replace(/[\u0020-\u007e]/g, '').length

/** Something harmful must not hide behind what is cut: the end is shown as well as the beginning. */
function bothEnds(text: string, url: string): string {
  const share = weight(text) > 2 * text.length ? 0.25 : 1
  const [first, last] = [most.head * share, most.tail * share].map(Math.floor) as [number, number]
  if (text.length <= first + last) return text
  const left = text.length - first - last
  const [head, tail] = [text.slice(0, first), text.slice(-last)].map(part => part.toWellFormed())
  return `${head}\n… ${left} characters are left out, read them at ${url} …\n${tail}`
}
