import type { Resource } from '../../gateway/protocol.ts'
import { defaultNamespaces, optionsOf } from './options.ts'
import type { RefCommand } from './pack/commands.ts'

/** One command of a push, and what it really changes. */
export interface Update extends RefCommand {
  /** As the client named it. */
  readonly asked: string
  /** Refs that it may be another name of, where the target does not say: judged as if it were. */
  readonly perhaps: readonly string[]
}

/** Why a ref may not be changed by anybody (GI7): only listed namespaces, and no name that git reads as something else. */
export function whyNotRef(resource: Resource, ref: string): string | undefined {
  const namespaces = optionsOf(resource).namespaces ?? defaultNamespaces
  if (!namespaces.some(each => ref.startsWith(each) && ref.length > each.length))
    return `refs are changed below ${namespaces.join(', ')} only`
  const last = ref.slice(ref.lastIndexOf('/') + 1)
  const isId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(last)
  if (
    isId ||
    /^(?:HEAD|FETCH_HEAD|ORIG_HEAD|MERGE_HEAD)$/.test(last) ||
    ref.split('/').some(part => part.startsWith('-'))
  )
    return 'git reads this name as something else'
  return undefined
}

/** Others that hold the same object: an alias always does. */
export function twinsOf(refs: ReadonlyMap<string, string>, { ref, old }: RefCommand): string[] {
  if (old === null) return []
  return (namesOf(refs).get(old) ?? []).filter(name => name !== ref)
}

/** Made once: thousands of commands ask about a hundred thousand refs. */
const made = new WeakMap<ReadonlyMap<string, string>, Map<string, string[]>>()
function namesOf(refs: ReadonlyMap<string, string>): Map<string, string[]> {
  let names = made.get(refs)
  if (names === undefined) {
    made.set(refs, (names = new Map()))
    for (const [name, id] of refs) {
      const of = names.get(id)
      if (of === undefined) names.set(id, [name])
      else of.push(name)
    }
  }
  return names
}

/** Alike on servers and clients whose file systems tell no upper from lower case, and one way of writing a letter from another. */
const folded = (ref: string): string => ref.normalize('NFKC').toLowerCase().normalize('NFKC')

/** A new ref that would take the place of another there: `refs/heads/Main`, that nobody protects. @returns the other. */
function likenessOf(
  refs: ReadonlyMap<string, string>,
  commands: readonly RefCommand[],
): (ref: string) => string | undefined {
  const created = commands.filter(each => each.old === null).map(each => each.ref)
  if (created.length === 0) return () => undefined
  const known = new Map<string, string>()
  for (const ref of [...refs.keys(), ...created]) if (!known.has(folded(ref))) known.set(folded(ref), ref)
  return ref => {
    const other = known.get(folded(ref))
    return other === ref ? undefined : other
  }
}

const mostPerhaps = 16

/**
 * What each command changes (GI6). `symrefs`: undefined where they are not known.
 * @returns a reason in the place of an update that cannot be judged.
 */
export function resolve(
  commands: readonly RefCommand[],
  refs: ReadonlyMap<string, string>,
  symrefs: ReadonlyMap<string, string> | undefined,
): (Update | { readonly asked: string; readonly why: string })[] {
  const likeness = likenessOf(refs, commands)
  const named = commands.map(command => ({ command, ref: realName(command.ref, symrefs) }))
  const first = new Map<string, RefCommand>()
  const torn = new Set<string>()
  for (const { command, ref } of named) {
    if (ref === undefined) continue
    if (!first.has(ref)) first.set(ref, command)
    else if (first.get(ref)!.new !== command.new) torn.add(ref)
  }
  return named.map(({ command, ref }) => {
    const { ref: asked, old } = command
    if ((refs.get(asked) ?? null) !== old) return { asked, why: 'it is something else on the server now: fetch first' }
    // Servers delete whatever is there by then, without a look at it.
    if (old === null && command.new === null) return { asked, why: 'it is not there' }
    const like = old === null ? likeness(asked) : undefined
    if (like !== undefined)
      return { asked, why: `it is written almost as ${like}, and some machines take one for the other` }
    if (ref === undefined) return { asked, why: 'it leads from one name to another without end' }
    // Under two names to the same: servers take it for one update, and so it is judged.
    if (torn.has(ref))
      return { asked, why: `it and other names of ${ref} would be changed to different objects by this push` }
    const perhaps = symrefs === undefined ? twinsOf(refs, command) : []
    if (perhaps.length > mostPerhaps)
      return {
        asked,
        why: 'the server does not say whether it is another name of one of many refs (options.repositories.NAME.symrefs can)',
      }
    return { ...command, ref, asked, perhaps }
  })
}

function realName(asked: string, symrefs: ReadonlyMap<string, string> | undefined): string | undefined {
  let ref = asked
  for (let step = 0; symrefs?.has(ref) === true; step++) {
    if (step > 4) return undefined
    ref = symrefs.get(ref)!
  }
  return ref
}
