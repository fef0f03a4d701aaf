import type { Resource } from '../../gateway/protocol.ts'
import { optionsOf } from './options.ts'

/** One repository of a resource, under the one name that policy, recordings and the mirror know it by. */
export interface Repository {
  readonly resource: Resource
  readonly name: string
  /** As the target's command names it. */
  readonly path: string
  readonly administration: boolean
  readonly symrefs: Readonly<Record<string, string>> | null
}

/**
 * The repository that a client names. INVARIANT: an exact look-up in the resource's map; the only things taken off are one
 * leading slash, which ssh:// URLs bring, and one `.git` at the end (GI2).
 */
export function repositoryOf(resource: Resource, asked: string): Repository | undefined {
  const { repositories } = optionsOf(resource)
  const name = asked.replace(/^\//, '').replace(/\.git$/, '')
  const found = Object.hasOwn(repositories, name)
    ? name
    : Object.keys(repositories).find(each => repositories[each]!.also?.includes(name))
  if (found === undefined) return undefined
  const { path, administration, symrefs } = repositories[found]!
  return { resource, name: found, path, administration: administration ?? false, symrefs: symrefs ?? null }
}

export function repositoriesOf(resource: Resource): readonly string[] {
  return Object.keys(optionsOf(resource).repositories)
}
