import type { CommandLine } from '../../../gateway/protocol.ts'
import { plain } from '../../../recording/render.ts'
import type { LostTip } from '../mirror/lost.ts'
import { AskedGateway } from './gateway-asked.ts'

/** Lists what was lost, in one repository or in all of a resource, or tells all of one. @returns the exit code. */
export async function lost(
  line: CommandLine,
  [resource, repository, id]: readonly string[],
  { role }: { readonly role?: string },
): Promise<number> {
  using asked = new AskedGateway(line, await line.ticket(resource!, { role }))
  const names = repository === undefined ? asked.repositories : [repository]
  let found = 0
  for (const name of names) {
    const tips = await asked.lost(name)
    if (typeof tips === 'number') return tips
    if (id !== undefined) return showOne(line, tips, { resource: resource!, repository: name, id })
    found += tips.length
    for (const text of listed(tips, name)) line.say(text)
  }
  line.say(
    found === 0
      ? `nothing was lost in ${repository === undefined ? resource : `${repository} of ${resource}`}`
      : `all of one: sallyport git lost ${resource} REPOSITORY ID; back with it: sallyport git restore ${resource} REPOSITORY ID --branch NAME`,
  )
  return 0
}

const instant = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')}Z`
const hows = { delete: 'was deleted', force: 'was rewritten', seen: 'was gone' } as const
export const many = (n: number) => `${n} ${n === 1 ? 'commit' : 'commits'}`

/** One line each, newest first, as the gateway sends them. */
export function listed(tips: readonly LostTip[], repository: string): string[] {
  return tips.map(({ id, at_ms, ref, how, by, commits, without }) => {
    const who = by === null ? 'past the gateway' : `by ${by.subject}`
    const what = commits === 0 ? '' : `, ${many(commits)}`
    return plain(
      `${id}  ${instant(at_ms)}  ${repository}  ${ref} ${hows[how]} ${who}${what}${without === null ? '' : ` (not kept: ${without})`}`,
    )
  })
}

function showOne(
  line: CommandLine,
  tips: readonly LostTip[],
  { resource, repository, id }: { readonly resource: string; readonly repository: string; readonly id: string },
): number {
  const tip = tips.find(each => each.id === id)
  if (tip === undefined) {
    line.say(
      `nothing that was lost in ${repository} is called ${id}: \`sallyport git lost ${resource} ${repository}\` lists it`,
    )
    return 1
  }
  for (const text of told(tip, resource, repository)) line.say(plain(text))
  return 0
}

/** What somebody needs who has to bring it back. */
export function told(tip: LostTip, resource: string, repository: string): string[] {
  const { id, ref, old, new: next, how, at_ms, by, commits, bytes, without } = tip
  const branch = ref.replace(/^refs\/(?:heads|tags)\//, '')
  return [
    `${ref} of ${repository} ${hows[how]} at ${instant(at_ms)} ${by === null ? 'past the gateway' : `by ${by.subject}`}`,
    `  it held     ${old}`,
    `  it became   ${next ?? 'nothing'}`,
    `  lost        ${commits === 0 ? 'no commit that nothing else reaches' : many(commits)}`,
    ...(by === null || by.session_id === '' ? [] : [`  how         sallyport replay ${by.session_id} --text`]),
    ...(without === null
      ? [
          `  kept        ${bytes} bytes, as long as the recording of that session`,
          `  bring back  sallyport git restore ${resource} ${repository} ${id} --branch restored/${branch}`,
        ]
      : [
          `  not kept    ${without}`,
          `  bring back  whoever has it in a clone: git push origin ${old}:refs/heads/restored/${branch}`,
        ]),
  ]
}
