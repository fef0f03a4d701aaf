import { Compile } from 'typebox/compile'
import { canonical, type Json } from '../canonical.ts'
import { placedFaults } from '../faults.ts'
import { DataSchema, type PolicyData } from './data-schema.ts'
import type { GateOptions } from './gate.ts'
import { meant } from './lint/meant.ts'
import { type Problem, Refused } from './problem.ts'
import type { Sources } from './repository/sources.ts'
import { fits, typed } from './resources.ts'
import { placesIn } from './yaml-place.ts'

const dataChecker = Compile(DataSchema)
const mostProblems = 50
/** Rules with resources: what is only worth a look is not looked for without end. */
const mostCompared = 5_000_000
/** Each file is read once for the lines of all that is wrong with it, however much that is. */
const places = new WeakMap<Buffer, ReturnType<typeof placesIn>>()

/**
 * The data files against their schemas, each resource's options against its protocol's, and its secret against what the
 * deployment declares.
 * @throws Refused
 */
export function checkData(data: unknown, sources: Sources, { protocols, secrets }: GateOptions): PolicyData {
  try {
    canonical(data as Json)
  } catch (error) {
    throw new Refused([
      { code: 'data', message: `the data files hold what a policy cannot use: ${(error as Error).message}` },
    ])
  }
  const hidden = protoPath(data)
  if (hidden !== undefined) refuse([dataProblem(hidden, '`__proto__` is no name for anything', sources)])
  const problems = placedFaults(dataChecker.Errors(data))
    .slice(0, mostProblems)
    .map(({ at, text }) => dataProblem(at, text, sources))
  if (!dataChecker.Check(data)) {
    refuse(
      problems.length > 0
        ? problems.slice(0, 20)
        : [{ code: 'data', message: 'the data files do not fit their schemas' }],
    )
    throw new Refused([{ code: 'data', message: 'the data files do not fit their schemas' }])
  }
  for (const [name, resource] of Object.entries(data.resources)) {
    if (problems.length >= mostProblems) break
    const problem = protocols.checkResource(resource.protocol, resource.options ?? {})
    if (problem !== null) problems.push(dataProblem(`/resources/${name}/options`, `${name}: ${problem}`, sources))
    const { secret } = resource
    if (secret === undefined || secrets === undefined || secrets.includes(secret)) continue
    const why = `this deployment declares no secret ${secret}${secrets.length === 0 ? '' : `: ${meant(secret, secrets)}`}`
    problems.push(dataProblem(`/resources/${name}/secret`, why, sources))
  }
  refuse(problems)
  return data
}

/** Rules of roles/data.yaml that fit no resource: a misspelt name or label gives a role to nobody, and says nothing. */
export function idleRoles(data: PolicyData, sources: Sources): Problem[] {
  const resources = Object.entries(data.resources).map(([name, resource]) => typed(name, resource))
  const idle: Problem[] = []
  let left = mostCompared
  for (const [group, roles] of Object.entries(data.roles)) {
    for (const [role, rules] of Object.entries(roles)) {
      for (const [i, rule] of rules.entries()) {
        left -= resources.length
        if (idle.length >= mostProblems || left < 0) return idle
        if (resources.some(resource => fits(rule, resource))) continue
        idle.push(dataProblem(`/roles/${pointer(group)}/${role}/${i}`, 'this rule fits no resource', sources))
      }
    }
  }
  return idle
}

/** The JSON Pointer of a member named `__proto__`: schemas look past it, and code that copies objects is changed by it. */
function protoPath(value: unknown, path = ''): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  for (const [key, member] of Object.entries(value)) {
    const here = `${path}/${pointer(key)}`
    const found = key === '__proto__' ? here : protoPath(member, here)
    if (found !== undefined) return found
  }
  return undefined
}

function pointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1')
}

function dataProblem(path: string, message: string, sources: Sources): Problem {
  const [, top = '', ...rest] = path.split('/').map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  const file = [...sources.keys()].find(name => !name.endsWith('.rego') && name.startsWith(`${top}/data.`))
  const at = rest.length > 0 ? `${rest.join('.')}: ` : ''
  if (file === undefined) return { code: 'data', message: `${path}: ${message}` }
  const content = sources.get(file)!
  const lineOf = places.get(content) ?? placesIn(content.toString('utf8'))
  places.set(content, lineOf)
  return { code: 'data', file, line: lineOf(rest), message: at + message }
}

function refuse(problems: readonly Problem[]): void {
  if (problems.length > 0) throw new Refused(problems)
}
