import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '../..')
/** What only a test with a real server, or one that compiles policies again and again, imports by itself or through its support. */
const heavy = [
  /support\/database\.ts'/,
  /support\/versitygw\.ts'/,
  /src\/db\/embedded\.ts'/,
  /src\/policy\/gate\.ts'/,
  /src\/policy\/opa-binary\.ts'/,
  /src\/dev\/(shop|world|idp)/,
  /\.\/sshd\.ts'/,
]

/**
 * The unit tests in two halves: `fast` ones are part of `npm run check`, `servers` ones run in `npm test` only. A file's
 * half follows from what it imports, so that nobody has to remember to say it.
 */
export function splitTests(): { fast: string[]; servers: string[] } {
  const files = testFiles(join(root, 'test')).filter(path => !/^test\/(journeys|conformance)\//.test(path))
  const servers = files.filter(path => isHeavy(join(root, path), new Set()))
  return { fast: files.filter(path => !servers.includes(path)), servers }
}

function testFiles(folder: string): string[] {
  return readdirSync(folder).flatMap(name => {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) return testFiles(path)
    return name.endsWith('.test.ts') ? [relative(root, path)] : []
  })
}

function isHeavy(path: string, seen: Set<string>): boolean {
  if (seen.has(path)) return false
  seen.add(path)
  const text = readFileSync(path, 'utf8')
  const lines = text.split('\n').filter(line => /\bfrom '|import\('/.test(line) && !line.startsWith('import type'))
  if (lines.some(line => heavy.some(mark => mark.test(line)))) return true
  return lines.some(line => {
    const target = /'(\.[^']+\.ts)'/.exec(line)?.[1]
    if (target === undefined) return false
    const next = resolve(dirname(path), target)
    return next.startsWith(join(root, 'test')) && existsSync(next) && isHeavy(next, seen)
  })
}
