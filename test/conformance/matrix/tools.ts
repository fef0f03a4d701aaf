import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Outcome, runCommand } from '../../support/commands.ts'
import type { Cell } from './behaviours.ts'
import type { ConformanceWorld, Way } from './world.ts'

/** PostgreSQL's own programs: both ways must print the same. */
export interface ToolRun {
  readonly name: string
  readonly cell: Cell
}

const script = `
\\pset null <null>
select 1 as one, null as n, 'ünï' as u;
\\set FETCH_COUNT 7
select g from generate_series(1, 30) g;
\\unset FETCH_COUNT
begin; select 1/0; select 2; rollback; select 3;
create temp table t (i int, t text);
copy t from stdin;
1	one
2	\\N
\\.
copy t to stdout (format csv, header);
\\copy t to pstdout
select * from t \\gdesc
select $1::int + $2 \\bind_or_not
prepare p(int) as select $1 * 2; execute p(21); deallocate p;
do $$ begin raise notice 'hello %', 1; end $$;
listen c; notify c, 'x';
\\d orders
\\dt
\\dn
\\df+ no_such
\\l shop
\\echo :SERVER_VERSION_NUM :ENCODING
select 1 \\; select 2 \\; select 3;
show standard_conforming_strings;
`.replace(/^.*bind_or_not\n/m, '')

export async function runTools(world: ConformanceWorld, pipeline?: string): Promise<ToolRun[]> {
  const { direct, open, starter } = world
  const both = async (name: string, argv: readonly string[], clean = same, input?: string): Promise<ToolRun> => {
    const [a, b] = [await run(direct, argv, input), await run(open, argv, input)]
    return { name, cell: judge(a, b, direct, open, clean) }
  }
  const psql = ['psql', '-X', '-A']
  const found = [
    await both('psql: a script of 30 commands', psql, temporaryOwner, script),
    await both('psql: \\d of every relation', psql, withoutNames, '\\d+ public.*\n\\dp\n\\du shop_*\n'),
    await both('psql: --single-transaction', [
      ...psql,
      '-1',
      '-c',
      'create temp table s (i int)',
      '-c',
      'select count(*) from s',
    ]),
    await both('pg_dump --schema-only', ['pg_dump', '--schema-only', '-n', 'public'], withoutNames),
    await both(
      'pg_dump --data-only, two tables',
      ['pg_dump', '--data-only', '-t', 'orders', '-t', 'customers'],
      withoutNames,
    ),
  ]
  for (const mode of ['simple', 'extended', 'prepared']) {
    for (const built of ['select-only', 'tpcb-like']) {
      const argv = ['pgbench', '-n', '-M', mode, '-b', built, '-c', '4', '-t', '50']
      found.push(await both(`pgbench -M ${mode} -b ${built}`, argv, counted))
    }
  }
  found.push(await asReader(starter))
  return [...found, ...(pipeline === undefined ? [] : await libpqPipeline(pipeline, world))]
}

function run(way: Way, argv: readonly string[], input?: string): Promise<Outcome> {
  return runCommand(['timeout', '120', ...argv], { env: envOf(way), ...(input === undefined ? {} : { input }) })
}

function envOf(way: Way): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    LC_ALL: 'C.UTF-8',
    HOME: '/nonexistent',
    PGHOST: way.host,
    PGPORT: String(way.port),
    PGUSER: way.user,
    PGPASSWORD: way.password,
    PGDATABASE: way.database,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: way.ca,
    PGGSSENCMODE: 'disable',
    PGCONNECT_TIMEOUT: '20',
  }
}

const same = (text: string) => text

/** Temporary schemas are numbered, backends have process ids, dumps a random word. */
function withoutNames(text: string): string {
  return text
    .replaceAll(/pg_temp_\d+/g, 'pg_temp')
    .replaceAll(/server process with PID \d+/g, 'server process')
    .replaceAll(/^\\(un)?restrict \S+$/gm, '\\$1restrict')
}

/** Meant to differ: what a session makes belongs to the granted role, not to the login that is made for the session. */
function temporaryOwner(text: string): string {
  return withoutNames(text).replace('pg_temp|t|table|shop_admin', 'pg_temp|t|table|USER')
}

/** An error that the gateway answers itself names no file, line and routine of the server. */
function withoutSource(text: string): string {
  return text.replaceAll(/ F "SSSS" L "SSSS" R "SSSS"/g, '')
}

const firstLine = (text: string) => text.split('\n', 1)[0] ?? ''

/** Of pgbench only what does not depend on the clock. */
function counted(text: string): string {
  return text
    .split('\n')
    .filter(line => /transactions actually processed|failed|error/.test(line))
    .join('\n')
}

function judge(a: Outcome, b: Outcome, direct: Way, through: Way, clean: (text: string) => string): Cell {
  const of = (o: Outcome, way: Way) =>
    clean(
      `${o.code}\n${o.stdout}\n${o.stderr}`
        .replaceAll(way.user, 'USER')
        .replaceAll(/\bsp_[0-9a-z]{26}\b/g, 'USER')
        .replaceAll(`port ${way.port}`, 'port P'),
    )
  const [wanted, got] = [of(a, direct), of(b, through)]
  if (a.code !== 0 && wanted === got) return { verdict: 'not offered', note: a.stderr.trim().split('\n')[0] ?? '' }
  if (wanted === got) return { verdict: 'pass' }
  const [left, right] = [wanted.split('\n'), got.split('\n')]
  const at = left.findIndex((line, i) => line !== right[i])
  return {
    verdict: b.code !== 0 && /refused by policy|the target changed search_path/.test(b.stderr) ? 'refused' : 'fail',
    note: `directly '${left[at] ?? ''}', through the gateway '${right[at < 0 ? left.length : at] ?? ''}' ${b.stderr.trim().slice(-300)}`,
  }
}

async function asReader(starter: Way): Promise<ToolRun> {
  const name = 'pg_dump of a table with masked columns, as reader'
  const { code, stderr } = await run(starter, ['pg_dump', '--data-only', '-t', 'customers'])
  const cell: Cell =
    code === 0 ? { verdict: 'fail', note: 'it went through' } : { verdict: 'refused', note: firstError(stderr) }
  return { name, cell }
}

function firstError(text: string): string {
  return (/error:\s+(.+)/i.exec(text)?.[1] ?? text.trim().split('\n')[0] ?? '').slice(0, 300)
}

/** What these send depends on the clock: PostgreSQL compares no traces of them either, only how they end. */
const untraced = ['pipelined_insert', 'uniqviol']
const dropTables = 'drop table if exists pq_pipeline_demo, pq_pipeline_tst, ppln_uniqviol cascade'

/** PostgreSQL's own test of pipelines, built by whoever has its source: the messages both ways must be the same. */
async function libpqPipeline(program: string, world: ConformanceWorld): Promise<ToolRun[]> {
  const { direct, open, folder } = world
  const { stdout } = await runCommand([program, 'tests'], {})
  mkdirSync(join(folder, 'traces'), { recursive: true })
  const found: ToolRun[] = []
  for (const name of stdout.split('\n').filter(Boolean)) {
    const trace = async (way: Way, which: string) => {
      const file = join(folder, 'traces', `${name}.${which}`)
      const outcome = await run(way, [program, '-t', file, name, ''])
      await world.atTarget(dropTables)
      return { ...outcome, stdout: existsSync(file) ? readFileSync(file, 'utf8') : '' }
    }
    const [a, b] = [await trace(direct, 'direct'), await trace(open, 'gateway')]
    found.push({
      name: `libpq_pipeline ${name}`,
      cell: judge(a, b, direct, open, untraced.includes(name) ? firstLine : withoutSource),
    })
  }
  return found
}
