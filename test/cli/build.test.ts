import { execFile } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const root = resolve(import.meta.dirname, '../..')
let project: string

beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), 'sallyport-build-'))
  mkdirSync(join(project, 'src/cli'), { recursive: true })
  mkdirSync(join(project, 'node_modules'))
  for (const name of ['typescript', '@typescript', '@types', 'undici-types']) {
    if (existsSync(join(root, 'node_modules', name)))
      symlinkSync(join(root, 'node_modules', name), join(project, 'node_modules', name))
  }
  copyFileSync(join(root, 'tsconfig.json'), join(project, 'tsconfig.json'))
  copyFileSync(join(root, 'src/cli/build.js'), join(project, 'src/cli/build.js'))
  writeFileSync(join(project, 'package.json'), '{"type": "module"}')
  source('cli/main.ts', "import { word } from '../word.ts'\nconsole.log(word)\n")
  source('word.ts', "export const word = 'first'\n")
})
afterEach(() => rmSync(project, { recursive: true, force: true }))

const source = (name: string, text: string) => writeFileSync(join(project, 'src', name), text)
const made = (name: string) => join(project, 'dist', name)
const build = () =>
  new Promise<{ code: number; said: string }>(done =>
    execFile(process.execPath, [join(project, 'src/cli/build.js')], (error, out, err) =>
      done({ code: error === null ? 0 : Number(error.code), said: out + err }),
    ),
  )

describe('the build', () => {
  test('it builds what changed, once, and says nothing when nothing did', async () => {
    expect(await build()).toEqual({ code: 0, said: 'building the program\n' })
    const at = statSync(made('cli/main.js')).mtimeMs
    expect(readFileSync(made('cli/main.js'), 'utf8')).toContain("'../word.js'")
    expect(await build()).toEqual({ code: 0, said: '' })
    expect(statSync(made('cli/main.js')).mtimeMs).toBe(at)
    source('word.ts', "export const word = 'second'\n")
    expect((await build()).said).toContain('building')
    expect(readFileSync(made('word.js'), 'utf8')).toContain('second')
  })

  test('a source that is gone does not live on, data files come along, and a deleted result comes back', async () => {
    source('extra.ts', 'export const extra = 1\n')
    source('facts.json', '{"a": 1}')
    await build()
    expect(existsSync(made('extra.js'))).toBe(true)
    expect(readFileSync(made('facts.json'), 'utf8')).toBe('{"a": 1}')
    rmSync(join(project, 'src/extra.ts'))
    await build()
    expect([existsSync(made('extra.js')), existsSync(made('cli/main.js'))]).toEqual([false, true])
    rmSync(made('cli/main.js'))
    await build()
    expect(existsSync(made('cli/main.js'))).toBe(true)
  })

  test('a wrong source is refused with its place, until it is right', async () => {
    source('word.ts', 'export const word: number = "no number"\n')
    const refused = await build()
    expect(refused.code).toBe(1)
    expect(refused.said).toMatch(/src\/word\.ts.*error TS2322/s)
    expect((await build()).code).toBe(1)
    source('word.ts', "export const word = 'right'\n")
    expect((await build()).code).toBe(0)
  })

  test('two builds at once follow one another, and the lock of a dead one is taken over', async () => {
    writeFileSync(join(project, 'node_modules/.sallyport-build'), '999999999')
    const results = await Promise.all([build(), build()])
    expect(results.map(result => result.code)).toEqual([0, 0])
    expect(results.map(result => result.said).sort()).toEqual(['', 'building the program\n'])
  })

  test('without installed packages it says what to do', async () => {
    rmSync(join(project, 'node_modules'), { recursive: true })
    expect(await build()).toMatchObject({ code: 1, said: expect.stringContaining('npm ci') })
  })
})
