import { points } from './points.ts'
import type { Problem } from './problem.ts'

interface Node {
  readonly [key: string]: unknown
}

export interface RulePlaces {
  /** Rule id → where it stands. */
  readonly rules: Readonly<Record<string, { file: string; line: number }>>
  /** Point → the id of its default rule. */
  readonly defaults: Readonly<Record<string, string>>
  /** What the package of `action` wants in its input beyond session facts. */
  readonly needs: readonly string[]
  readonly problems: readonly Problem[]
}

const effectRules = new Set(['allow', 'deny', 'ask'])
const defaultRules = ['result', 'effect', 'allow', 'deny', 'ask']
const idShape = /^[a-z][a-z0-9_]*(\.[a-z0-9][a-z0-9_-]*)+$/
const carried = new Set(['time'])

/**
 * Reads what the modules say of their rules. A reason names a rule, activation says where it stands: so every rule that
 * gives an effect has an id of its own in its METADATA, and no module names an id that does not exist.
 * @param modules syntax trees by path, without tests.
 */
export function readRules(modules: ReadonlyMap<string, unknown>): RulePlaces {
  const rules: Record<string, { file: string; line: number }> = {}
  const defaults: Record<string, string> = {}
  const needs: string[] = []
  const problems: Problem[] = []
  const named: { id: string; file: string; line: number }[] = []
  for (const [file, tree] of modules) {
    const module = tree as { package: Node; annotations?: Node[]; rules?: Node[] }
    const name = packageOf(module.package)
    const folder = file.split('/')[0] ?? ''
    const home = folder === 'lib' ? 'sallyport.lib' : `sallyport.${folder}`
    if (name !== home && !name.startsWith(`${home}.`)) {
      problems.push({
        code: 'package',
        file,
        line: rowOf(module.package),
        message: `the package is ${name}; a file in ${folder}/ belongs to ${home}`,
      })
    }
    if (name === 'sallyport.action') needs.push(...needsOf(module.annotations ?? [], file, problems))
    const point = name === home && Object.hasOwn(points, folder) ? folder : undefined
    for (const rule of module.rules ?? []) {
      const head = headOf(rule)
      const line = rowOf(rule)
      const id = idOf(rule)
      if (id === undefined) {
        const why = whyNeeded(rule, head, point)
        if (why !== undefined)
          problems.push({
            code: 'rule_id',
            file,
            line,
            message: `${why}: write \`# METADATA\` and \`# custom: { rule: ${folder}.… }\` above it`,
          })
      } else if (!idShape.test(id))
        problems.push({
          code: 'rule_id',
          file,
          line,
          message: `the rule id ${JSON.stringify(id)} is not of the form word.word`,
        })
      else if (rules[id] !== undefined)
        problems.push({
          code: 'rule_id',
          file,
          line,
          message: `the rule id ${id} stands at ${rules[id].file}:${rules[id].line} already`,
        })
      else {
        rules[id] = { file, line }
        if (point !== undefined && rule['default'] === true && defaultRules.includes(head)) {
          const before = defaults[point]
          if (before === undefined || head === 'result') defaults[point] = id
        }
      }
      for (const literal of ruleLiterals(rule)) named.push({ ...literal, file })
    }
  }
  for (const { id, file, line } of named) {
    if (!Object.hasOwn(rules, id))
      problems.push({
        code: 'rule_id',
        file,
        line,
        message: `the rule id ${JSON.stringify(id)} is declared by no rule`,
      })
  }
  for (const [point, { effects }] of Object.entries(points)) {
    if (effects.length > 0 && defaults[point] === undefined) {
      problems.push({
        code: 'default',
        file: `${point}/${point}.rego`,
        message: `${point} needs a default rule (\`default result := …\`) with an id: it answers when no other does`,
      })
    }
  }
  return { rules, defaults, needs: [...new Set(needs)], problems }
}

function whyNeeded(rule: Node, head: string, point: string | undefined): string | undefined {
  if (point !== undefined && rule['default'] === true && defaultRules.includes(head))
    return 'this default rule has no id'
  if (point !== undefined && effectRules.has(head)) return `this ${head} rule has no id`
  return usesMetadata(rule) ? 'this rule asks for its own METADATA and has none' : undefined
}

function needsOf(annotations: readonly Node[], file: string, problems: Problem[]): string[] {
  const found: string[] = []
  for (const annotation of annotations) {
    if (annotation['scope'] !== 'package' && annotation['scope'] !== 'subpackages') continue
    const needs = (annotation['custom'] as Node | undefined)?.['needs']
    if (needs === undefined) continue
    if (Array.isArray(needs) && needs.every(need => typeof need === 'string' && carried.has(need)))
      found.push(...(needs as string[]))
    else {
      problems.push({
        code: 'unsupported',
        file,
        line: rowOf(annotation),
        message: `custom.needs is ${JSON.stringify(needs)}; this version can give a list of: ${[...carried].join(', ')}`,
      })
    }
  }
  return found
}

function packageOf(node: Node): string {
  const path = Array.isArray(node['path']) ? (node['path'] as Node[]) : []
  return path
    .slice(1)
    .map(part => String(part['value']))
    .join('.')
}

function headOf(rule: Node): string {
  const head = rule['head'] as { name?: string; ref?: Node[] } | undefined
  return String(head?.ref?.[0]?.['value'] ?? head?.name ?? '')
}

function idOf(rule: Node): string | undefined {
  for (const annotation of (rule['annotations'] as Node[] | undefined) ?? []) {
    const id = (annotation['custom'] as Node | undefined)?.['rule']
    if (typeof id === 'string') return id
  }
  return undefined
}

function rowOf(node: Node): number {
  const row = (node['location'] as { row?: unknown } | undefined)?.row
  return typeof row === 'number' ? row : 1
}

/** Every `"rule": "literal"` of an object in this rule. */
function ruleLiterals(rule: Node): { id: string; line: number }[] {
  const found: { id: string; line: number }[] = []
  walk(rule, node => {
    if (node['type'] !== 'object' || !Array.isArray(node['value'])) return
    for (const pair of node['value'] as [Node, Node][]) {
      const [key, value] = pair
      if (key['value'] === 'rule' && value['type'] === 'string')
        found.push({ id: String(value['value']), line: rowOf(value) })
    }
  })
  return found
}

function usesMetadata(rule: Node): boolean {
  let uses = false
  walk(rule, node => {
    const path =
      node['type'] === 'ref' && Array.isArray(node['value']) ? (node['value'] as Node[]).map(part => part['value']) : []
    if (path[0] === 'rego' && path[1] === 'metadata') uses = true
  })
  return uses
}

function walk(value: unknown, visit: (node: Node) => void): void {
  const left: unknown[] = [value]
  while (left.length > 0) {
    const next = left.pop()
    if (Array.isArray(next)) left.push(...next)
    else if (typeof next === 'object' && next !== null) {
      visit(next as Node)
      left.push(...Object.values(next))
    }
  }
}
