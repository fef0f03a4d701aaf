import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const folder = join(import.meta.dirname, '../../../src/protocols/git')
const doc = readFileSync(join(folder, 'events.md'), 'utf8')

/** A table of the document for a SIEM: kind → the names in the last column. */
export function documented(heading: string): Map<string, string[]> {
  const part = doc.split(`## ${heading}`)[1]!.split('\n## ')[0]!
  const lines = part.split('\n').filter(line => line.startsWith('| `'))
  return new Map(
    lines.map(line => [
      /`(\w+)`/.exec(line)![1]!,
      [
        ...line
          .split('|')
          .at(-2)!
          .matchAll(/`(\w+)`/g),
      ].map(each => each[1]!),
    ]),
  )
}
