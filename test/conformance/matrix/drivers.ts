import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { runCommand } from '../../support/commands.ts'
import type { Line } from './behaviours.ts'
import type { Way } from './world.ts'

const clients = resolve(import.meta.dirname, '../clients')
const packages = resolve(import.meta.dirname, '../../../node_modules')
const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'sallyport/conformance')

export interface Prepared {
  readonly version: string
  readonly argv: (way: Way, run: readonly string[]) => readonly string[]
}

export interface Driver {
  readonly name: string
  /** Makes it ready, with the ordinary client of its registry. @throws when that cannot be had here. */
  prepare(): Promise<Prepared>
}

const python = {
  psycopg: '3.3.9',
  'psycopg-binary': '3.3.9',
  'psycopg-pool': '3.3.3',
  asyncpg: '0.32.0',
  pg8000: '1.31.6',
}
const pgjdbc = '42.7.8'

export const drivers: readonly Driver[] = [
  nodeDriver('node-postgres', 'pg', 'node-pg.js'),
  nodeDriver('postgres.js', 'postgres', 'postgres-js.js'),
  pythonDriver('psycopg', 'psycopg_client.py'),
  pythonDriver('asyncpg', 'asyncpg_client.py'),
  pythonDriver('pg8000', 'pg8000_client.py'),
  {
    name: 'pgx',
    async prepare() {
      const folder = join(cache, 'pgx')
      cpSync(join(clients, 'pgx'), folder, { recursive: true })
      await must('go', ['build', '-o', 'client', '.'], folder)
      const version = /pgx\/v5 v(\S+)/.exec(readFileSync(join(folder, 'go.mod'), 'utf8'))?.[1] ?? 'unknown'
      return { version: `${version}, ${await must('go', ['env', 'GOVERSION'])}`, argv: () => [join(folder, 'client')] }
    },
  },
  {
    name: 'pgjdbc',
    async prepare() {
      const folder = join(cache, 'pgjdbc')
      mkdirSync(folder, { recursive: true })
      const jar = join(folder, `postgresql-${pgjdbc}.jar`)
      const artifact = `-Dartifact=org.postgresql:postgresql:${pgjdbc}`
      if (!existsSync(jar)) {
        await must('mvn', ['-q', '-B', 'dependency:get', artifact])
        await must('mvn', ['-q', '-B', 'dependency:copy', artifact, `-DoutputDirectory=${folder}`])
      }
      await must('javac', ['-encoding', 'UTF-8', '-cp', jar, '-d', folder, join(clients, 'pgjdbc/Client.java')])
      return {
        version: pgjdbc,
        argv: (way, run) => [
          'java',
          '-Xmx512m',
          ...['-cp', `${jar}:${folder}`],
          `-Dway.user=${way.user}`,
          `-Dway.ca=${way.ca}`,
          `-Dway.place=${way.host}:${way.port}/${way.database}`,
          `-Dway.run=${run.join(',')}`,
          'Client',
        ],
      }
    },
  },
]

function nodeDriver(name: string, pkg: string, file: string): Driver {
  return {
    name,
    async prepare() {
      const { version } = JSON.parse(readFileSync(join(packages, pkg, 'package.json'), 'utf8')) as { version: string }
      return { version: `${version}, Node ${process.version}`, argv: () => [process.execPath, join(clients, file)] }
    },
  }
}

function pythonDriver(name: keyof typeof python, file: string): Driver {
  return {
    name,
    async prepare() {
      const folder = join(cache, 'python')
      const program = join(folder, 'bin/python')
      if (!existsSync(program)) await must('python3', ['-m', 'venv', folder])
      const wanted = Object.entries(python).map(([pkg, version]) => `${pkg}==${version}`)
      await must(program, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...wanted])
      const version = `${python[name]}, ${await must(program, ['--version'])}`
      return { version, argv: () => [program, '-B', join(clients, file)] }
    },
  }
}

/** The identity provider lives in this process, so nothing may block it. @returns what it printed. @throws with its own words. */
async function must(program: string, args: readonly string[], cwd?: string): Promise<string> {
  const argv = ['timeout', '300', program, ...args]
  const { code, stdout, stderr } = await runCommand(argv, cwd === undefined ? {} : { cwd })
  if (code !== 0) throw new Error(`${program}: ${stderr.trim().slice(-500)}`)
  return stdout.trim()
}

/** One run of a driver's program over some behaviours. */
export async function runDriver(
  argv: readonly string[],
  way: Way,
  run: readonly string[],
): Promise<ReadonlyMap<string, Line>> {
  const env = { ...process.env, CONFORMANCE: JSON.stringify({ ...way, run }), CONFORMANCE_PASSWORD: way.password }
  const { stdout, stderr } = await runCommand(['timeout', '240', ...argv], { env })
  const lines = stdout.split('\n').flatMap(text => (text.startsWith('{') ? [JSON.parse(text) as Line] : []))
  if (lines.length < run.length) console.error(`· it stopped early: ${stderr.trim().slice(-600)}`)
  return new Map(lines.map(line => [line.behaviour, line]))
}
