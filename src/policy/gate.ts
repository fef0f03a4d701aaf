import { setImmediate as nextTurn } from 'node:timers/promises'
import { Compile } from 'typebox/compile'
import { canonical, digest, type Json } from '../canonical.ts'
import { placedFaults } from '../faults.ts'
import { type Bundle, bundleOpts, packBundle, unpackBundle } from './bundle.ts'
import { opaFacts, type TestOutcome, Workspace } from './compiler.ts'
import { DataSchema, type PolicyData } from './data-schema.ts'
import { inputSchema } from './json-schemas.ts'
import { type Point, points } from './points.ts'
import { type Problem, Refused, refusalError } from './problem.ts'
import { readResult, unsupported } from './results.ts'
import { readRules } from './rules.ts'
import { sampleQuestions } from './samples.ts'
import { readFolder, type Sources } from './sources.ts'
import { Evaluator } from './wasm.ts'
import { doubledKeys, lineOf } from './yaml-place.ts'

/** What the gate must ask of the protocols, which live above this room. `main.ts` answers from the registry. */
export interface ProtocolCheck {
  /** What is wrong with a resource's options, or null. An unknown protocol is a problem. */
  checkResource(protocol: string, options: unknown): string | null
  /** Whether the protocol can mask; what it cannot do and policy demands is refused. */
  canMask(protocol: string): boolean
}

export interface GateOptions {
  /** Path of the `opa` command. */
  readonly opa: string
  readonly protocols: ProtocolCheck
}

export interface Compiled {
  readonly bundle: Bundle
  readonly tests: readonly TestOutcome[]
}

const pointNames = (Object.keys(points) as Point[]).sort()
const entry = (point: Point) => `sallyport/${point}/result`
const dataChecker = Compile(DataSchema)

/** Checks a policy root of the file system. @returns what is wrong with it; nothing for one that could be activated. */
export async function checkRepository(dir: string, options: GateOptions): Promise<readonly Problem[]> {
  try {
    await compile(readFolder(dir), options)
    return []
  } catch (error) {
    if (error instanceof Refused) return error.problems
    throw error
  }
}

/**
 * Runs the tests of a policy root, in OPA and in the module that is enforced.
 * @throws SallyportError `bad_request` when it does not compile or the two differ.
 */
export async function testRepository(
  dir: string,
  options: GateOptions,
): Promise<{ tests: readonly TestOutcome[]; coverage: number }> {
  const sources = readFolder(dir)
  return inWorkspace(sources, options, async workspace => {
    const tests = await runTests(workspace)
    return { tests, coverage: tests.every(t => t.passed) ? await workspace.coverage() : 0 }
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
 * Makes a bundle of a commit's sources: structure, `opa check --strict` with the schema of each point, rule ids, tests in
 * both evaluators, compilation, data, and a dry evaluation of every point.
 * @throws Refused with all problems of the first step that found any.
 */
export async function compile(sources: Sources, options: GateOptions): Promise<Compiled> {
  refuse(structureProblems(sources))
  for (const [path, content] of sources) {
    if (path.endsWith('.rego')) continue
    refuse(doubledKeys(path, content.toString('utf8')))
    await nextTurn()
  }
  return inWorkspace(sources, options, workspace => compileIn(workspace, sources, options.protocols))
}

async function compileIn(workspace: Workspace, sources: Sources, protocols: ProtocolCheck): Promise<Compiled> {
  const { opa } = workspace
  refuse(await checkPoints(workspace, sources))
  const trees = new Map<string, unknown>()
  for (const path of sources.keys())
    if (path.endsWith('.rego') && !isTest(path)) trees.set(path, await workspace.parse(path))
  const { problems, rules, defaults, needs } = readRules(trees)
  refuse(problems)
  const { wasm, data } = await workspace.build(pointNames.map(entry), false)
  const checked = checkData(data, sources, protocols)
  const tests = await runTests(workspace)
  refuse(
    tests
      .filter(t => !t.passed)
      .map(t => ({ code: 'test', file: t.file, line: t.line, message: `the test ${t.name} fails` })),
  )
  const bundle: Bundle = {
    opa: opa.version,
    opts: bundleOpts,
    caps: digest(opa.capabilities),
    data: checked,
    wasm: wasm.toString('base64'),
    meta: { rules, defaults, needs: [...needs] },
  }
  refuse(packProblems(bundle))
  refuse(await dryRun(bundle, protocols))
  return { bundle, tests }
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
    path => !path.endsWith('.rego') && (path.split('/').length === 1 || path.startsWith('sallyport/')),
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

function checkData(data: unknown, sources: Sources, protocols: ProtocolCheck): PolicyData {
  try {
    canonical(data as Json)
  } catch (error) {
    throw new Refused([
      { code: 'data', message: `the data files hold what a policy cannot use: ${(error as Error).message}` },
    ])
  }
  const hidden = protoPath(data)
  if (hidden !== undefined) refuse([dataProblem(hidden, '`__proto__` is no name for anything', sources)])
  const problems = placedFaults(dataChecker.Errors(data)).map(({ at, text }) => dataProblem(at, text, sources))
  if (!dataChecker.Check(data)) {
    refuse(
      problems.length > 0
        ? problems.slice(0, 20)
        : [{ code: 'data', message: 'the data files do not fit their schemas' }],
    )
    throw new Refused([{ code: 'data', message: 'the data files do not fit their schemas' }])
  }
  for (const [name, resource] of Object.entries(data.resources)) {
    const problem = protocols.checkResource(resource.protocol, resource.options ?? {})
    if (problem !== null) problems.push(dataProblem(`/resources/${name}/options`, `${name}: ${problem}`, sources))
  }
  refuse(problems)
  return data
}

/** The JSON Pointer of a member named `__proto__`: schemas look past it, and code that copies objects is changed by it. */
function protoPath(value: unknown, path = ''): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  for (const [key, member] of Object.entries(value)) {
    const here = `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
    const found = key === '__proto__' ? here : protoPath(member, here)
    if (found !== undefined) return found
  }
  return undefined
}

function dataProblem(path: string, message: string, sources: Sources): Problem {
  const [, top = '', ...rest] = path.split('/').map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  const file = [...sources.keys()].find(name => !name.endsWith('.rego') && name.startsWith(`${top}/data.`))
  const at = rest.length > 0 ? `${rest.join('.')}: ` : ''
  if (file === undefined) return { code: 'data', message: `${path}: ${message}` }
  return { code: 'data', file, line: lineOf(sources.get(file)!.toString('utf8'), rest), message: at + message }
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

/** INVARIANT: a revision answers every point in its shape, and with nothing that this build cannot carry out. */
async function dryRun(bundle: Bundle, protocols: ProtocolCheck): Promise<Problem[]> {
  const evaluator = new Evaluator(Buffer.from(bundle.wasm, 'base64'), canonical(bundle.data as Json))
  const problems: Problem[] = []
  for (const { point, input, label } of sampleQuestions(bundle.data)) {
    await nextTurn() // control has others to serve: a slow policy holds it for one evaluation at a time
    const file = `${point}/${point}.rego`
    const answer = evaluator.evaluate(point, canonical(input as Json))
    if (!answer.ok) problems.push({ code: answer.code, file, message: `${label}: ${answer.message}` })
    else if (answer.value === undefined)
      problems.push({ code: 'policy_undefined', file, message: `${label}: result is undefined` })
    else problems.push(...resultFaults(point, answer.value, label).map(fault => ({ file, ...fault })))
    const protocol = 'resource' in input && typeof input.resource === 'object' ? input.resource?.protocol : undefined
    if (
      point === 'masking' &&
      answer.ok &&
      protocol !== undefined &&
      hasRules(answer.value) &&
      !protocols.canMask(protocol)
    ) {
      problems.push({
        code: 'unsupported',
        file,
        message: `${label}: ${protocol} cannot mask, and a masking rule demands it`,
      })
    }
    if (problems.length >= 20) break
  }
  return problems
}

function resultFaults(point: Point, value: unknown, label: string): { code: string; message: string }[] {
  const read = readResult(point, value)
  if ('problem' in read) return [{ code: 'policy_shape', message: `${label}: ${read.problem}` }]
  const cannot = unsupported(point, read.result)
  return cannot === undefined ? [] : [{ code: 'unsupported', message: `${label}: ${cannot}` }]
}

function hasRules(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'rules' in value &&
    Array.isArray(value.rules) &&
    value.rules.length > 0
  )
}

function isTest(path: string): boolean {
  return path.endsWith('_test.rego')
}

function refuse(problems: readonly Problem[]): void {
  if (problems.length > 0) throw new Refused(problems)
}
