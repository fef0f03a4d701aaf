import type { KnownBlock } from '@slack/web-api'
import type { HeldView } from '../approvals/view.ts'
import { code, context, cut, section } from './blocks.ts'

const most = { head: 1300, tail: 550, parts: 6, lines: 12 }

/** What would be done, as far as it has room: the page has all of it. INVARIANT: what is left out is said. */
export function holdBlocks(hold: HeldView, url: string): KnownBlock[] {
  const blocks: KnownBlock[] = []
  if (hold.text === null) blocks.push(context('Policy records no text here, so none is shown.'))
  else blocks.push(section('What would run:'), code(bothEnds(hold.text, url)))
  for (const { label, lines, more = 0 } of hold.shown.slice(0, most.parts)) {
    const left = more + Math.max(0, lines.length - most.lines)
    const shown = lines.slice(0, most.lines).map(line => cut(line, 150))
    if (left > 0) shown.push(`… and ${left} more: ${url}`)
    blocks.push(section(label), code(shown.join('\n')))
  }
  if (hold.shown.length > most.parts) blocks.push(context(`There is more: ${url}`))
  return blocks
}

/** Something harmful must not hide behind what is cut: the end is shown as well as the beginning. */
function bothEnds(text: string, url: string): string {
  if (text.length <= most.head + most.tail) return text
  const left = text.length - most.head - most.tail
  const [head, tail] = [text.slice(0, most.head), text.slice(-most.tail)].map(part => part.toWellFormed())
  return `${head}\n… ${left} characters are left out, read them at ${url} …\n${tail}`
}
