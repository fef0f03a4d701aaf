import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { freePort } from '../../../src/db/loopback.ts'
import type { GitSource } from './source.ts'
import type { Way } from './way.ts'

export type Outcome = 'pass' | 'fail' | 'skipped' | 'known breakage'

/** One run of one of git's scripts: what became of each test, by its number. */
export interface Ran {
  readonly tests: ReadonlyMap<number, { readonly title: string; readonly outcome: Outcome }>
  /** Why the script did not run at all. */
  readonly skipped: string | null
  /** It came to its end. */
  readonly whole: boolean
  /** How often it asked a server. */
  readonly asked: number
  readonly seconds: number
}

const longest_ms = 15 * 60_000

export async function runScript({ folder }: GitSource, script: string, way: Way): Promise<Ran> {
  const started = performance.now()
  const out = join(way.folder, basename(script, '.sh'))
  mkdirSync(out, { recursive: true })
  way.asked()
  const child = spawn('sh', [`./${script}`, '--verbose-log', '--no-color'], {
    cwd: join(folder, 't'),
    detached: true, // its own group, which is stopped whole
    stdio: ['ignore', 'pipe', 'ignore'],
    env: {
      PATH: process.env['PATH'],
      HOME: out,
      SHELL: '/bin/sh',
      TERM: 'dumb',
      TEST_OUTPUT_DIRECTORY: out,
      GIT_TEST_INSTALLED: '/usr/bin',
      GIT_TEST_EXEC_PATH: way.programs,
      LIB_GIT_DAEMON_PORT: String(await freePort()), // both run at once
    },
  })
  let said = ''
  child.stdout.on('data', chunk => (said += chunk))
  const late = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), longest_ms)
  await new Promise(resolve => child.once('close', resolve))
  clearTimeout(late)
  return { ...readTap(said), asked: way.asked(), seconds: (performance.now() - started) / 1000 }
}

/** What a failing test said, for who looks for the reason. */
export function wordsOf(script: string, way: Way): string {
  return readFileSync(
    join(way.folder, basename(script, '.sh'), 'test-results', `${basename(script, '.sh')}.out`),
    'utf8',
  )
}

export const toText = (_key: string, value: unknown) => (value instanceof Map ? { tests: [...value] } : value)

export function fromText(key: string, value: unknown): unknown {
  return key === 'tests' && !Array.isArray(value) ? new Map((value as { tests: [number, unknown][] }).tests) : value
}

/** https://testanything.org/, as git's test-lib.sh writes it. */
export function readTap(text: string): Pick<Ran, 'tests' | 'skipped' | 'whole'> {
  const tests = new Map<number, { title: string; outcome: Outcome }>()
  for (const line of text.split('\n')) {
    const [, not, number, rest = ''] = /^(not )?ok (\d+)(?: - | )?(.*)$/.exec(line) ?? []
    if (number === undefined) continue
    const skip = /^# skip (.*)$/i.exec(rest)
    const known = / # TODO known breakage/.test(rest)
    const outcome = skip !== null ? 'skipped' : known ? 'known breakage' : not === undefined ? 'pass' : 'fail'
    tests.set(Number(number), { title: (skip?.[1] ?? rest).replace(/ # TODO .*$/, ''), outcome })
  }
  const plan = /^1\.\.(\d+)(?: # SKIP (.*))?$/m.exec(text)
  return {
    tests,
    skipped: plan?.[2] ?? null,
    whole: plan !== null && (plan[2] !== undefined || Number(plan[1]) === tests.size),
  }
}
