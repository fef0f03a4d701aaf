import { setImmediate as nextTurn } from 'node:timers/promises'
import { canonical, digest, type Json } from '../canonical.ts'
import { type Bundle, bundleOpts, packBundle, unpackBundle } from './bundle.ts'
import { opaFacts, type TestOutcome, Workspace } from './compiler.ts'
import { checkData, idleRoles } from './data-check.ts'
import { dryRun } from './dry-run.ts'
import { inputSchema } from './json-schemas.ts'
import { lint } from './lint/lint.ts'
import { type Point, points } from './points.ts'
import { mergeProblems, type Problem, Refused, refusalError } from './problem.ts'
import { readFolder, type Sources } from './repository/sources.ts'
import { coverageProblems, readSettings, settingsFile } from './repository-settings.ts'
import { readRules } from './rules.ts'
import { Evaluator } from './wasm.ts'
import { doubledKeysApart, readingEnds } from './yaml-apart.ts'

/** What the gate must ask of the protocols, which live above this room. `main.ts` answers from the registry. */
export interface ProtocolCheck {
  /** What is wrong with a resource's options, or null. An unknown protocol is a problem. */
  checkResource(protocol: string, options: unknown): string | null
  /** Whether the protocol can mask; what it cannot do and policy demands is refused. */
  canMask(protocol: string): boolean
  /** Whether the deployment names somebody who could open originals. Left out where the deployment is not known. */
  readonly keepsOriginals?: boolean
}

export interface GateOptions {
  /** Path of the `opa` command. */
  readonly opa: string
  readonly protocols: ProtocolCheck
  /** Names of the secrets that the operator declares; left out where no deployment is at hand, and then none is refused. */
  readonly secrets?: readonly string[] | undefined
}

export interface Compiled {
  readonly bundle: Bundle
  readonly tests: readonly TestOutcome[]
  /** What is worth a look and refuses nothing. */
  readonly warnings: readonly Problem[]
}

const pointNames = (Object.keys(points) as Point[]).sort()
const entry = (point: Point) => `sallyport/${point}/result`

/** What is wrong with a policy root of the file system: no problem for one that could be activated. */
export async function checkRepository(
  dir: string,
  options: GateOptions,
): Promise<{ problems: readonly Problem[]; warnings: readonly Problem[] }> {
  try {
    const { warnings } = await compile(readFolder(dir), options)
    return { problems: [], warnings }
  } catch (error) {
    if (error instanceof Refused) return { problems: error.problems, warnings: [] }
    throw error
  }
}

/**
 * Runs the tests of a policy root, in OPA and in the module that is enforced. `problems`: coverage that is demanded and
 * not there.
 * @throws SallyportError `bad_request` when it does not compile or the two differ.
 */
export async function testRepository(
  dir: string,
  options: GateOptions,
): Promise<{ tests: readonly TestOutcome[]; coverage: number; problems: readonly Problem[] }> {
  const sources = readFolder(dir)
  return inWorkspace(sources, options, async workspace => {
    const tests = await runTests(workspace)
    if (!tests.every(t => t.passed)) return { tests, coverage: 0, problems: [] }
    const coverage = await workspace.coverage()
    return { tests, coverage: coverage.percent, problems: await coverageProblems(async () => coverage, sources) }
  }).catch((error: unknown) => {
    throw error instanceof Refused ? refusalError(error) : error
  })
}

/**
 * Compiles a policy root of the file system, as activation would.
 * @throws SallyportError `bad_request` that lists what is wrong with it.
 */
export async function compileFolder(dir: string, options: GateOptions): Promise<Compiled> {
  try {
    return await compile(readFolder(dir), options)
  } catch (error) {
    throw error instanceof Refused ? refusalError(error) : error
  }
}

/**
 * Makes a bundle of a commit's sources: structure, `opa check --strict` with the schema of each point, our own lints, rule
 * ids, compilation, data, tests in both evaluators, their coverage, and a dry evaluation of every point.
 * @throws Refused with all problems of the first step that found any.
 */
export async function compile(sources: Sources, options: GateOptions): Promise<Compiled> {
  refuse(structureProblems(sources))
  const end_ms = readingEnds()
  for (const [path, content] of sources) {
    if (path.endsWith('.rego')) continue
    refuse(await doubledKeysApart(path, content.toString('utf8'), { end_ms }))
    await nextTurn()
  }
  readSettings(sources)
  return inWorkspace(sources, options, workspace => compileIn(workspace, sources, options))
}

async function compileIn(workspace: Workspace, sources: Sources, options: GateOptions): Promise<Compiled> {
  const { opa } = workspace
  const modules = [...sources.keys()].filter(path => path.endsWith('.rego'))
  const checked = await checkPoints(workspace, sources)
  refuse(checked.filter(({ code }) => code === 'rego_parse_error'))
  const all = await workspace.parse(modules)
  const linted = await lint(all)
  refuse(mergeProblems(checked, linted.problems))
  const trees = new Map([...all].filter(([path]) => !isTest(path)))
  const { problems, rules, defaults, needs } = readRules(trees)
  refuse(problems)
  const { wasm, data } = await workspace.build(pointNames.map(entry), false)
  const judged = checkData(data, sources, options)
  const tests = await runTests(workspace)
  refuse(
    tests
      .filter(t => !t.passed)
      .map(t => ({ code: 'test', file: t.file, line: t.line, message: `the test ${t.name} fails` })),
  )
  refuse(await coverageProblems(() => workspace.coverage(), sources))
  const bundle: Bundle = {
    opa: opa.version,
    opts: bundleOpts,
    caps: digest(opa.capabilities),
    data: judged,
    wasm: wasm.toString('base64'),
    meta: { rules, defaults, needs: [...needs] },
  }
  refuse(packProblems(bundle))
  refuse(await dryRun(bundle, options.protocols))
  const warnings = [...(await workspace.unformatted()), ...linted.labels(judged), ...idleRoles(judged, sources)]
  return { bundle, tests, warnings }
}

async function inWorkspace<T>(
  sources: Sources,
  options: GateOptions,
  run: (workspace: Workspace) => Promise<T>,
): Promise<T> {
  const workspace = new Workspace(await opaFacts(options.opa), sources)
  try {
    return await run(workspace)
  } finally {
    workspace[Symbol.dispose]()
  }
}

function structureProblems(sources: Sources): Problem[] {
  const missing = pointNames.filter(point => !sources.has(`${point}/${point}.rego`))
  const allowed = new Set<string>([...pointNames, 'lib'])
  const stray = [...sources.keys()].filter(path => path.endsWith('.rego') && !allowed.has(path.split('/')[0] ?? ''))
  const shadowing = [...sources.keys()].filter(
    path =>
      !path.endsWith('.rego') &&
      path !== settingsFile &&
      (path.split('/').length === 1 || path.startsWith('sallyport/')),
  )
  return [
    ...missing.map(point => ({
      code: 'structure',
      file: `${point}/${point}.rego`,
      message: `the point ${point} has no policy: this file is missing`,
    })),
    ...stray.map(file => ({ code: 'structure', file, message: 'modules live in the folder of a point, or in lib/' })),
    ...shadowing.map(file => ({
      code: 'structure',
      file,
      message: 'data lives in a folder, and not in sallyport/, where the rules are',
    })),
    ...(['resources', 'roles'] as const)
      .filter(name => !['yaml', 'yml', 'json'].some(kind => sources.has(`${name}/data.${kind}`)))
      .map(name => ({ code: 'structure', file: `${name}/data.yaml`, message: 'this data file is missing' })),
  ]
}

/** One schema at a time: a schema given as a file holds for everything that is named with it, libraries too. */
async function checkPoints(workspace: Workspace, sources: Sources): Promise<Problem[]> {
  const lib = [...sources.keys()].some(path => path.startsWith('lib/')) ? ['lib'] : []
  const found = new Map<string, Problem>()
  for (const point of pointNames) {
    for (const problem of await workspace.check(inputSchema(point), [point, ...lib])) {
      if (problem.file?.startsWith('lib/') && problem.message.includes('undefined ref: input.')) continue // judged below
      found.set(JSON.stringify(problem), problem)
    }
  }
  if (lib.length > 0)
    for (const problem of await workspace.check(librarySchema(), lib)) found.set(JSON.stringify(problem), problem)
  return [...found.values()]
}

/** A library may serve several points: it may read what the input of at least one of them has. */
function librarySchema(): object {
  const properties = pointNames.map(point => inputSchema(point).properties ?? {})
  return { ...inputSchema('access'), properties: Object.assign({}, ...properties) as object }
}

/** Tests by name in the module that is enforced, compared with what OPA's own evaluator said. */
async function runTests(workspace: Workspace): Promise<TestOutcome[]> {
  const tests = await workspace.test()
  if (tests.length === 0) return tests
  const named = tests.map(t => ({ ...t, entry: `${t.package.replace(/^data\./, '').replaceAll('.', '/')}/${t.name}` }))
  const entries = [...new Set(named.map(t => t.entry))].sort()
  const { wasm, data } = await workspace.build(entries, true)
  const evaluator = new Evaluator(wasm, canonical(data as Json), 'tests')
  const differing: typeof named = []
  for (const test of named) {
    await nextTurn()
    workspace.goOn()
    if (test.passed !== passedIn(evaluator, test.entry)) differing.push(test)
  }
  refuse(
    differing.map(({ file, line, name }) => ({
      code: 'test_differs',
      file,
      line,
      message: `the test ${name} has another outcome in the compiled policy than in opa test`,
    })),
  )
  return tests
}

function passedIn(evaluator: Evaluator, name: string): boolean {
  const answer = evaluator.evaluateEntry(name, '{}')
  if (!answer.ok) return false
  if (typeof answer.value !== 'object' || answer.value === null) return answer.value === true
  const cases = Object.values(answer.value)
  return cases.length > 0 && cases.every(value => value === true)
}

/** INVARIANT: what is activated can be loaded; a bundle that every process refuses would end all sessions. */
function packProblems(bundle: Bundle): Problem[] {
  try {
    unpackBundle(packBundle(bundle))
    return []
  } catch (error) {
    return [{ code: 'source_size', message: `no process could load this revision: ${(error as Error).message}` }]
  }
}

function isTest(path: string): boolean {
  return path.endsWith('_test.rego')
}

function refuse(problems: readonly Problem[]): void {
  if (problems.length > 0) throw new Refused(problems)
}
