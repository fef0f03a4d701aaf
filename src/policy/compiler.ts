import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { SallyportError } from '../errors.ts'
import { restrictCapabilities } from './capabilities.ts'
import { type ChildResult, runChild } from './child.ts'
import { meant } from './lint/meant.ts'
import { type Problem, Refused } from './problem.ts'
import { type Sources, writeSources } from './repository/sources.ts'
import { readTar } from './tar.ts'

export interface OpaFacts {
  readonly path: string
  readonly version: string
  readonly capabilities: string
}

export interface TestOutcome {
  readonly package: string
  readonly name: string
  readonly file: string
  readonly line: number
  readonly passed: boolean
}

export interface Coverage {
  /** Share of the lines, tests included, as `opa test --coverage` counts. */
  readonly percent: number
  /** First and last line of what no test runs, by file. */
  readonly untested: readonly { readonly file: string; readonly ranges: readonly (readonly [number, number])[] }[]
}

const mostUnformatted = 20
const atOnce = 4
const longestRun_ms = 60_000
/** Of all runs for one commit: what waits behind it, a rollback maybe, does not wait for hours. */
const longest_ms = 300_000
const known = new Map<string, Promise<OpaFacts>>()

/** Version and capabilities of the `opa` command; asked once for each path. */
export function opaFacts(path: string): Promise<OpaFacts> {
  let facts = known.get(path)
  if (facts === undefined) {
    facts = askFacts(path)
    facts.catch(() => known.delete(path))
    known.set(path, facts)
  }
  return facts
}

async function askFacts(path: string): Promise<OpaFacts> {
  const ask = async (...args: string[]) => {
    const result = await runChild([path, ...args], { cwd: '/', timeoutMs: 20_000 })
    if (result.status === 0) return result.stdout.toString('utf8')
    throw new SallyportError('policy_unavailable', `the opa command ${path} does not run: ${firstLine(result)}`, {
      remedy: 'check the setting policy.opa',
    })
  }
  const version = /^Version: (\S+)/m.exec(await ask('version'))?.[1]
  if (version === undefined)
    throw new SallyportError('policy_unavailable', `${path} does not look like the opa command`)
  return { path, version, capabilities: restrictCapabilities(await ask('capabilities', '--current')) }
}

/**
 * A policy root in a private folder, and what `opa` says about it. The root is the working directory and paths are
 * relative, because the compiled module contains them.
 */
export class Workspace {
  readonly opa: OpaFacts
  readonly #folder: string
  readonly #root: string
  readonly #until: number

  constructor(opa: OpaFacts, sources: Sources, limit_ms = longest_ms) {
    this.opa = opa
    this.#until = performance.now() + limit_ms
    this.#folder = mkdtempSync(join(tmpdir(), 'sallyport-policy-'))
    this.#root = join(this.#folder, 'root')
    try {
      writeSources(sources, this.#root)
      writeFileSync(join(this.#folder, 'caps.json'), opa.capabilities)
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Asked between steps that are many. @throws Refused where this commit has taken too long. */
  goOn(): number {
    const left_ms = this.#until - performance.now()
    if (left_ms > 0) return left_ms
    const message = 'these policies take longer to check than a commit may: make their files and tests fewer or simpler'
    throw new Refused([{ code: 'opa_limits', message }])
  }

  /** `opa check --strict` of some folders against one schema. @returns the problems. */
  async check(schema: object, paths: readonly string[]): Promise<Problem[]> {
    const file = join(this.#folder, 'schema.json')
    writeFileSync(file, JSON.stringify(schema))
    const result = await this.#opa(['check', '--strict', '--format=json', '--schema', file, ...paths])
    return result.status === 0 ? [] : problemsOf(result)
  }

  /** The syntax trees of modules, by path, in their order. */
  async parse(paths: readonly string[]): Promise<Map<string, unknown>> {
    const trees = new Map<string, unknown>()
    for (let at = 0; at < paths.length; at += atOnce) {
      const some = paths.slice(at, at + atOnce)
      const results = await Promise.all(
        some.map(path => this.#opa(['parse', '--format=json', '--json-include=locations,-comments', path], false)),
      )
      for (const [i, result] of results.entries()) {
        if (result.status !== 0) throw new Refused(problemsOf(result))
        trees.set(some[i]!, JSON.parse(result.stdout.toString('utf8')))
      }
    }
    return trees
  }

  /** Modules that `opa fmt` would write differently, each with the first line that differs. */
  async unformatted(): Promise<Problem[]> {
    const listed = await this.#opa(['fmt', '--list', '.'], false)
    if (listed.status !== 0) return []
    const found: Problem[] = []
    for (const path of listed.stdout.toString('utf8').split('\n').filter(Boolean).slice(0, mostUnformatted)) {
      const written = await this.#opa(['fmt', path], false)
      const wanted = written.stdout.toString('utf8').split('\n')
      const lines = readFileSync(join(this.#root, path), 'utf8').split('\n')
      const line = lines.findIndex((text, i) => text !== wanted[i]) + 1
      found.push({
        code: 'fmt',
        file: path,
        line: line || 1,
        message: `opa fmt writes this differently: run \`opa fmt -w ${path}\``,
      })
    }
    return found
  }

  /** Runs the tests in OPA's own evaluator. */
  async test(): Promise<TestOutcome[]> {
    const result = await this.#opa(['test', '-b', '.', '--format=json', '--timeout=5s'])
    const text = result.stdout.toString('utf8')
    if (result.ended !== undefined || !text.trimStart().startsWith('[')) {
      if (result.status === 0) return [] // no tests: prints nothing
      throw new Refused(problemsOf(result))
    }
    const rows = JSON.parse(text) as {
      location: { file: string; row: number }
      package: string
      name: string
      fail?: boolean
      error?: unknown
    }[]
    return rows.map(row => ({
      package: row.package,
      name: row.name,
      file: row.location.file,
      line: row.location.row,
      passed: row.fail !== true && row.error === undefined,
    }))
  }

  /** Which lines of the policies the tests run. Call it when all tests pass. */
  async coverage(): Promise<Coverage> {
    const result = await this.#opa(['test', '-b', '.', '--coverage', '--format=json', '--timeout=5s'])
    const text = result.stdout.toString('utf8')
    if (!text.trimStart().startsWith('{')) return { percent: 0, untested: [] }
    const { coverage, files } = JSON.parse(text) as {
      coverage: number
      files: Record<string, { not_covered?: { start: { row: number }; end: { row: number } }[] }>
    }
    const untested = Object.entries(files).flatMap(([file, { not_covered = [] }]) => {
      const ranges = not_covered.map(({ start, end }): [number, number] => [start.row, end.row])
      return ranges.length === 0 ? [] : [{ file, ranges }]
    })
    return { percent: coverage, untested }
  }

  /** Compiles entry points, in the order given, to WASM; with the tests or without them. */
  async build(entries: readonly string[], tests: boolean): Promise<{ wasm: Buffer; data: unknown }> {
    const out = join(this.#folder, tests ? 'tests.tar.gz' : 'bundle.tar.gz')
    const result = await this.#opa([
      'build',
      '-b',
      '.',
      '-t',
      'wasm',
      ...(tests ? [] : ['--ignore=*_test.rego']),
      ...entries.flatMap(e => ['-e', e]),
      '-o',
      out,
    ])
    if (result.status !== 0) throw new Refused(problemsOf(result))
    const files = readTar(gunzipSync(readFileSync(out), { maxOutputLength: 256 << 20 }))
    const wasm = files.get('policy.wasm')
    const data = files.get('data.json')
    if (wasm === undefined || data === undefined)
      throw new Error('opa build wrote a bundle without policy.wasm or data.json')
    return { wasm, data: JSON.parse(data.toString('utf8')) as unknown }
  }

  /** What OPA's own evaluator says of a query; undefined where it is. @throws Refused where it fails. */
  async evaluate(query: string, input: string): Promise<unknown> {
    const result = await this.#opa(['eval', '-b', '.', '--format=json', '--stdin-input', query], true, input)
    if (result.status !== 0) throw new Refused(problemsOf(result))
    const answer = JSON.parse(result.stdout.toString('utf8')) as { result?: { expressions: { value: unknown }[] }[] }
    return answer.result?.[0]?.expressions[0]?.value
  }

  async #opa([command = '', ...args]: readonly string[], restricted = true, input?: string): Promise<ChildResult> {
    const timeoutMs = Math.min(longestRun_ms, this.goOn())
    const caps = restricted ? ['--capabilities', join(this.#folder, 'caps.json')] : []
    const stdin = input === undefined ? {} : { input }
    return runChild([this.opa.path, command, ...caps, ...args], { cwd: this.#root, timeoutMs, ...stdin })
  }
}

/** What `opa` complained about: JSON errors with places, or lines `file:row: message`. */
function problemsOf(result: ChildResult): Problem[] {
  if (result.ended !== undefined)
    return [{ code: 'opa_limits', message: 'opa did not end within its limits of time and output on these policies' }]
  const out = result.stdout.toString('utf8')
  const listed = [...errorsIn(out), ...errorsIn(result.stderr)]
  if (listed.length > 0) return listed.slice(0, 50)
  const lines = (out + '\n' + result.stderr).split('\n')
  const placed = lines.flatMap(line => {
    const [, file, row, message] = /([\w./-]+\.(?:rego|json|ya?ml)):(\d+): (.*)$/.exec(line) ?? []
    return file === undefined || row === undefined || message === undefined
      ? []
      : [{ code: 'opa', file: file.replace(/^\.?\//, ''), line: Number(row), message }]
  })
  return placed.length > 0 ? placed.slice(0, 50) : [unreadData(result) ?? { code: 'opa', message: firstLine(result) }]
}

/** A data file that is no YAML or JSON: opa names it in a sentence of its own. */
function unreadData(result: ChildResult): Problem | undefined {
  const told = /bundle load failed on ([\w./-]+\.(?:json|ya?ml)): (.*)$/m.exec(firstLine(result))
  if (told === null) return undefined
  const [, line, why] = /^yaml: line (\d+): (.*)$/.exec(told[2]!) ?? []
  return {
    code: 'data',
    file: told[1]!.replace(/^\.?\//, ''),
    ...(line === undefined ? {} : { line: Number(line) }),
    message: `cannot be read: ${why ?? told[2]!}`,
  }
}

function errorsIn(text: string): Problem[] {
  if (!text.trimStart().startsWith('{')) return []
  try {
    const { errors = [] } = JSON.parse(text) as {
      errors?: OpaError[]
    }
    return errors.map(error => ({
      code: error.code ?? 'opa',
      message: error.message + hint(error),
      ...(error.location?.file === undefined
        ? {}
        : { file: error.location.file.replace(/^\.?\//, ''), line: error.location.row ?? 1 }),
    }))
  } catch {
    return []
  }
}

interface OpaError {
  readonly message: string
  readonly code?: string
  readonly location?: { readonly file?: string; readonly row?: number }
  readonly details?: {
    readonly ref?: readonly { readonly value: unknown }[]
    readonly pos?: number
    readonly oneOf?: readonly unknown[]
  }
}

/** The field that was probably meant, where opa says which there are. */
function hint({ details }: OpaError): string {
  const written = details?.ref?.[details.pos ?? -1]?.value
  if (typeof written !== 'string' || !Array.isArray(details?.oneOf)) return ''
  return `: ${meant(written, details.oneOf.map(String))}`
}

function firstLine(result: ChildResult): string {
  const text = (result.stderr + '\n' + result.stdout.subarray(0, 2000).toString('utf8')).trim()
  return text.split('\n')[0]?.slice(0, 500) || `it ended with status ${result.status}`
}
