import type { CommandChannel } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import type { PushRequest } from './pack/commands.ts'
import type { TargetSide } from './push.ts'
import type { Repository } from './repositories.ts'
import { askSymrefs } from './symrefs.ts'
import { resolve, twinsOf, type Update, whyNotRef } from './updates.ts'

const log = logger('git')

/** What a push really changes, and the refs that nobody may change, with the reason. */
export interface Resolved {
  readonly updates: readonly Update[]
  readonly barred: readonly { readonly asked: string; readonly why: string }[]
}

export async function resolveRefs(
  { opened }: CommandChannel,
  repository: Repository,
  request: PushRequest,
  target: TargetSide,
): Promise<Resolved> {
  const updates: Update[] = []
  const barred: { asked: string; why: string }[] = []
  for (const each of resolve(request.commands, target.refs, await symrefsOf(repository, request, target))) {
    const why =
      'why' in each ? each.why : (whyNotRef(opened.resource, each.asked) ?? whyNotRef(opened.resource, each.ref))
    if (why === undefined && !('why' in each)) updates.push(each)
    else barred.push({ asked: each.asked, why: why! })
  }
  return { updates, barred }
}

async function symrefsOf(
  { symrefs, resource }: Repository,
  request: PushRequest,
  target: TargetSide,
): Promise<ReadonlyMap<string, string> | undefined> {
  if (symrefs !== null) return new Map(Object.entries(symrefs))
  // A ref that shares its object with no other is another name of none.
  if (request.commands.every(each => twinsOf(target.refs, each).length === 0)) return new Map()
  try {
    return await askSymrefs(await target.fetch())
  } catch (error) {
    log.info({ err: error, resource: resource.name }, 'a target did not say which refs are other names')
    return undefined
  }
}
