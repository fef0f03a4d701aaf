import type { CommandChannel } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import type { PushRequest } from './pack/commands.ts'
import type { TargetSide } from './push.ts'
import type { Repository } from './repositories.ts'
import { askNames, type Names } from './symrefs.ts'
import { resolve, twinsOf, type Update, whyNotRef } from './updates.ts'

const log = logger('git')

/** What a push really changes, and the refs that nobody may change, with the reason. */
export interface Resolved {
  readonly updates: readonly Update[]
  readonly barred: readonly { readonly asked: string; readonly why: string }[]
  /** What a new ref is compared with: asked for only where there is one. */
  readonly head: Names['head']
}

export async function resolveRefs(
  { opened }: CommandChannel,
  repository: Repository,
  request: PushRequest,
  target: Omit<TargetSide, 'head'>,
): Promise<Resolved> {
  const updates: Update[] = []
  const barred: { asked: string; why: string }[] = []
  const { symrefs, head } = await namesOf(repository, request, target)
  for (const each of resolve(request.commands, target.refs, symrefs)) {
    const why =
      'why' in each ? each.why : (whyNotRef(opened.resource, each.asked) ?? whyNotRef(opened.resource, each.ref))
    if (why === undefined && !('why' in each)) updates.push(each)
    else barred.push({ asked: each.asked, why: why! })
  }
  return { updates, barred, head }
}

async function namesOf(
  { symrefs, resource }: Repository,
  request: PushRequest,
  target: Omit<TargetSide, 'head'>,
): Promise<Names> {
  const told = symrefs === null ? undefined : new Map(Object.entries(symrefs))
  // A ref that shares its object with no other is another name of none.
  const known =
    told ?? (request.commands.every(each => twinsOf(target.refs, each).length === 0) ? new Map() : undefined)
  const creates = request.commands.some(each => each.old === null && each.new !== null)
  if (known !== undefined && !creates) return { symrefs: known, head: undefined }
  try {
    const names = await askNames(await target.fetch())
    return { symrefs: known ?? names.symrefs, head: names.head }
  } catch (error) {
    log.info({ err: error, resource: resource.name }, 'a target did not say which refs are other names')
    return { symrefs: known, head: undefined }
  }
}
