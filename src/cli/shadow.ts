import type { Change } from '../policy/impact/compare.ts'
import type { Group } from '../policy/impact/groups.ts'
import type { Client } from './client.ts'
import { groupText, titles } from './impact-page.ts'
import { instant, plain, say } from './output.ts'

interface ShadowAnswer {
  readonly shadow: {
    readonly commit: string
    readonly digest: string | null
    readonly subject_line: string
    readonly problems: readonly { readonly file?: string; readonly line?: number; readonly message: string }[]
    readonly at_ms: number
  } | null
  readonly active: { readonly generation: number; readonly commit: string } | null
  readonly counts: {
    readonly judged: number
    readonly diverged: number
    readonly skipped: number
    readonly left: number
    readonly processes: number
  }
  readonly groups: readonly Group[]
}

/** Prints what the shadow policy would have decided differently, and what it could not keep up with. */
export async function policyShadow(client: Client, options: { json?: boolean; limit: string }): Promise<void> {
  const answer = await client.get<ShadowAnswer>(`/api/policy/shadow?limit=${Number(options.limit)}`)
  if (options.json === true) {
    say(JSON.stringify(answer, null, 2))
    return
  }
  const { shadow, active, counts, groups } = answer
  if (shadow === null) {
    say('No shadow policy is weighed. The setting policy.shadow_ref names the ref of one;')
    say('where it does, that ref was not read yet: the log of control says why.')
    return
  }
  say(`shadow commit ${shadow.commit} (${plain(shadow.subject_line)}), since ${instant(shadow.at_ms)}`)
  if (shadow.digest === null) {
    say('It does not pass the gate, so it is not weighed:')
    for (const { file, line, message } of shadow.problems)
      say(`  ${file === undefined ? '' : `${plain(file)}${line === undefined ? '' : `:${line}`}: `}${plain(message)}`)
    return
  }
  if (active !== null) say(`beside generation ${active.generation}, commit ${active.commit}`)
  say(
    `${counts.judged} decisions of ${counts.processes} process(es) were weighed: ${counts.diverged} would come out differently. Nothing is enforced by it.`,
  )
  if (counts.skipped > 0) say(`${counts.skipped} came faster than they are weighed, and were skipped.`)
  if (counts.left > 0) say(`${counts.left} more belong to groups that are not kept.`)
  for (const change of new Set(groups.map(group => group.change))) {
    say(`\n${titles[change as Change]}:`)
    for (const group of groups.filter(each => each.change === change)) for (const line of groupText(group)) say(line)
  }
}
