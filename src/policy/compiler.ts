import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { SallyportError } from '../errors.ts'
import { restrictCapabilities } from './capabilities.ts'
import { type ChildResult, runChild } from './child.ts'
import { type Problem, Refused } from './problem.ts'
import { type Sources, writeSources } from './sources.ts'
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

  constructor(opa: OpaFacts, sources: Sources) {
    this.opa = opa
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

  /** `opa check --strict` of some folders against one schema. @returns the problems. */
  async check(schema: object, paths: readonly string[]): Promise<Problem[]> {
    const file = join(this.#folder, 'schema.json')
    writeFileSync(file, JSON.stringify(schema))
    const result = await this.#opa(['check', '--strict', '--format=json', '--schema', file, ...paths])
    return result.status === 0 ? [] : problemsOf(result)
  }

  /** The syntax tree of one module. */
  async parse(path: string): Promise<unknown> {
    const result = await this.#opa(['parse', '--format=json', '--json-include=locations,-comments', path], false)
    if (result.status !== 0) throw new Refused(problemsOf(result))
    return JSON.parse(result.stdout.toString('utf8'))
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

  /** Share of the policies' lines that the tests run, in percent. Call it when all tests pass. */
  async coverage(): Promise<number> {
    const result = await this.#opa(['test', '-b', '.', '--coverage', '--format=json', '--timeout=5s'])
    const text = result.stdout.toString('utf8')
    return text.trimStart().startsWith('{') ? (JSON.parse(text) as { coverage: number }).coverage : 0
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

  #opa([command = '', ...args]: readonly string[], restricted = true): Promise<ChildResult> {
    const caps = restricted ? ['--capabilities', join(this.#folder, 'caps.json')] : []
    return runChild([this.opa.path, command, ...caps, ...args], { cwd: this.#root, timeoutMs: 60_000 })
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
      errors?: { message: string; code?: string; location?: { file?: string; row?: number }; details?: unknown }[]
    }
    return errors.map(error => ({
      code: error.code ?? 'opa',
      message: error.message,
      ...(error.location?.file === undefined
        ? {}
        : { file: error.location.file.replace(/^\.?\//, ''), line: error.location.row ?? 1 }),
    }))
  } catch {
    return []
  }
}

function firstLine(result: ChildResult): string {
  const text = (result.stderr + '\n' + result.stdout.subarray(0, 2000).toString('utf8')).trim()
  return text.split('\n')[0]?.slice(0, 500) || `it ended with status ${result.status}`
}
