import type { PolicyData, ResourceData } from './data-schema.ts'
import type { Engine } from './engine.ts'
import type { ResourceFacts, SubjectFacts } from './points.ts'

/** A resource of the active revision as a typed value; `options` is checked by its protocol's folder. */
export interface PolicyResource {
  readonly name: string
  readonly protocol: string
  readonly host: string
  readonly port: number
  readonly address: string
  readonly labels: Readonly<Record<string, string>>
  readonly secret: string | null
  readonly options: Readonly<Record<string, unknown>>
}

/** Resources and roles of the revision that this process enforces now. Empty before the first. */
export class Resources {
  readonly #engine: Engine
  #of: PolicyData | null = null
  #byName: ReadonlyMap<string, PolicyResource> = new Map()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** The generation these come from; null before the first revision. */
  get version(): number | null {
    return this.#engine.revision?.generation ?? null
  }

  get(name: string): PolicyResource | undefined {
    return this.#now().get(name)
  }

  list(): PolicyResource[] {
    return [...this.#now().values()]
  }

  /** The roles that the groups of this subject give on a resource, by name, with the longest grant of each. */
  rolesOf(subject: Pick<SubjectFacts, 'groups'>, resource: string): { role: string; max_s: number }[] {
    const found = this.get(resource)
    const data = this.#engine.data
    if (found === undefined || data === null) return []
    return rolesGiven(data, subject.groups, found)
  }

  #now(): ReadonlyMap<string, PolicyResource> {
    const data = this.#engine.data
    if (data !== this.#of) {
      this.#of = data
      this.#byName = new Map(Object.entries(data?.resources ?? {}).map(([name, r]) => [name, typed(name, r)]))
    }
    return this.#byName
  }
}

/** The roles that groups give on a resource, by name, as the data of a revision says. */
export function rolesGiven(
  data: PolicyData,
  groups: readonly string[],
  resource: Pick<PolicyResource, 'name' | 'labels'>,
): { role: string; max_s: number }[] {
  const longest = new Map<string, number>()
  for (const group of groups) {
    const roles = Object.hasOwn(data.roles, group) ? data.roles[group]! : {}
    for (const [role, rules] of Object.entries(roles)) {
      for (const rule of rules.filter(r => fits(r, resource)))
        longest.set(role, Math.max(longest.get(role) ?? 0, rule.max_s))
    }
  }
  return [...longest].map(([role, max_s]) => ({ role, max_s })).sort((a, b) => (a.role < b.role ? -1 : 1))
}

/** `input.resource` of a resource. */
export function resourceFacts(resource: PolicyResource): ResourceFacts {
  return { address: resource.address, labels: { ...resource.labels }, name: resource.name, protocol: resource.protocol }
}

/** A data file's resource as a value; the address has been checked by its schema. */
export function typed(name: string, resource: ResourceData): PolicyResource {
  const cut = resource.address.lastIndexOf(':')
  return Object.freeze({
    name,
    protocol: resource.protocol,
    host: resource.address.slice(0, cut).replace(/^\[|\]$/g, ''),
    port: Number(resource.address.slice(cut + 1)),
    address: resource.address,
    labels: Object.freeze({ ...resource.labels }),
    secret: resource.secret ?? null,
    options: resource.options ?? {},
  })
}

/** Whether a rule of roles/data.yaml is about a resource. */
export function fits(
  rule: { names?: string[]; labels?: Record<string, string> },
  resource: Pick<PolicyResource, 'name' | 'labels'>,
): boolean {
  if (rule.names === undefined && rule.labels === undefined) return false
  if (rule.names !== undefined && !rule.names.includes(resource.name)) return false
  return Object.entries(rule.labels ?? {}).every(
    ([label, value]) => Object.hasOwn(resource.labels, label) && resource.labels[label] === value,
  )
}
