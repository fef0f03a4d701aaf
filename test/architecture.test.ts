import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const src = resolve(import.meta.dirname, '../src')
const level: Record<string, number> = {
  db: 0,
  masking: 0,
  audit: 1,
  identity: 2,
  policy: 3,
  approvals: 4,
  sessions: 5,
  recording: 5,
  gateway: 6,
  evidence: 6,
  alerts: 6,
  protocols: 7,
  api: 7,
  slack: 7,
  cli: 8,
  web: 8,
  dev: 9,
}
const top = new Set([
  'main.ts',
  'base.ts',
  'control.ts',
  'control-keeping.ts',
  'control-policy.ts',
  'worker.ts',
  'replay.ts',
  'jobs.ts',
])

function filesBelow(dir: string): string[] {
  return readdirSync(dir).flatMap(name => {
    const path = join(dir, name)
    if (statSync(path).isDirectory()) return filesBelow(path)
    return /\.tsx?$/.test(name) ? [path] : []
  })
}

const files = filesBelow(src).map(path => ({ path, name: relative(src, path), text: readFileSync(path, 'utf8') }))
const imports = (text: string) => [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(m => m[1]!)
const roomOf = (name: string) => (name.includes('/') ? name.split('/')[0]! : '')

describe('the rooms of src', () => {
  test('a room imports only from rooms below it', () => {
    const wrong: string[] = []
    for (const file of files) {
      const room = roomOf(file.name)
      if (room === '' && (top.has(file.name) || !file.name.endsWith('.ts'))) continue
      for (const target of imports(file.text).filter(i => i.startsWith('.'))) {
        const to = relative(src, resolve(file.path, '..', target))
        const toRoom = roomOf(to)
        if (room === '' && toRoom !== '') wrong.push(`${file.name} → ${to}: the floor imports no room`)
        else if (top.has(to) && room !== 'cli') wrong.push(`${file.name} → ${to}: only cli starts the composition root`)
        else if (file.name === 'cli/dev.ts' && to === 'dev/main.ts')
          continue // the one door to the development parts
        else if (room !== '' && toRoom !== '' && room !== toRoom && !(level[toRoom]! < level[room]!))
          wrong.push(`${file.name} → ${to}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test('every folder of src is a known room', () => {
    expect([...new Set(files.map(f => roomOf(f.name)))].filter(r => r !== '' && !(r in level))).toEqual([])
  })

  test('a protocol imports no sibling', () => {
    const wrong: string[] = []
    for (const file of files.filter(
      f => f.name.startsWith('protocols/') && !/^protocols\/(all|persons)\.ts$/.test(f.name),
    )) {
      const own = file.name.split('/')[1]
      for (const target of imports(file.text).filter(i => i.startsWith('.'))) {
        const to = relative(src, resolve(file.path, '..', target)).split('/')
        if (to[0] === 'protocols' && to[1] !== own) wrong.push(`${file.name} → ${to.join('/')}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test('the WASM wrapper, bullmq, ssh2 and bolt each have one importer or one room', () => {
    const users = (pkg: string) => files.filter(f => imports(f.text).includes(pkg)).map(f => f.name)
    expect(users('@open-policy-agent/opa-wasm')).toHaveLength(1)
    expect(users('bullmq').every(n => n === 'jobs.ts')).toBe(true)
    expect(users('@slack/bolt').every(n => n.startsWith('slack/'))).toBe(true)
  })

  test('what every ssh of a person waits for loads nothing large', () => {
    const large = ['typebox', 'ssh2', 'pg', 'postgres', 'pino']
    const seen = new Set<string>()
    const wrong: string[] = []
    const left = ['cli/connect.ts', 'protocols/persons.ts', 'protocols/ssh/cli/ticket.ts']
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      if (seen.has(name)) continue
      seen.add(name)
      const { path, text } = files.find(f => f.name === name)!
      const loaded = [...text.matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)'/gm)].map(m => m[1]!)
      for (const each of loaded) {
        if (each.startsWith('.')) left.push(relative(src, resolve(path, '..', each)))
        else if (large.some(pkg => each === pkg || each.startsWith(`${pkg}/`))) wrong.push(`${name} → ${each}`)
      }
    }
    expect(seen.size).toBeGreaterThan(20)
    expect(wrong).toEqual([])
  })

  test('no protocol is named outside its folder', () => {
    const protocols = readdirSync(join(src, 'protocols')).filter(n => statSync(join(src, 'protocols', n)).isDirectory())
    const wrong: string[] = []
    // The program that is called so, the kind of place for checkpoints that is one, and a word of ssh-keygen's.
    const program = /(?:runChild\(\[|spawnSync\()'git'|kind: (?:T\.Literal\()?'git'|kind === 'git'|Good "git" signature/
    for (const file of files) {
      if (file.name.startsWith('protocols/') || file.name.startsWith('dev/') || file.name.startsWith('db/')) continue
      for (const protocol of protocols) {
        const literal = new RegExp(`['"\`]${protocol}['"\`]`)
        for (const [i, line] of file.text.split('\n').entries()) {
          if (literal.test(line) && !/from '/.test(line) && !program.test(line))
            wrong.push(`${file.name}:${i + 1}: ${line.trim()}`)
        }
      }
    }
    expect(wrong).toEqual([])
  })

  test('no file is longer than 500 lines', () => {
    expect(files.filter(f => f.text.split('\n').length > 500).map(f => f.name)).toEqual([])
  })
})
