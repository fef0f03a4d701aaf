import { createWriteStream, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { CommandLine } from '../../../gateway/protocol.ts'
import { plain } from '../../../recording/render.ts'
import type { LostTip } from '../mirror/lost.ts'
import { AskedGateway } from './gateway-asked.ts'
import { lost, many } from './lost.ts'

interface Wanted {
  readonly resource: string
  readonly repository: string
  readonly tip: LostTip
}

/** Brings back what was lost: as a branch, or as a bundle and the words that fetch from it. @returns the exit code. */
export async function restore(
  line: CommandLine,
  [resource, repository, id]: readonly string[],
  { role, to, branch }: { readonly role?: string; readonly to?: string; readonly branch?: string },
): Promise<number> {
  if (id === undefined) return lost(line, [resource!, repository!], { ...(role !== undefined && { role }) })
  using asked = new AskedGateway(line, await line.ticket(resource!, { role }))
  const tips = await asked.lost(repository!)
  if (typeof tips === 'number') return tips
  const tip = tips.find(each => each.id === id)
  const words = `sallyport git lost ${resource} ${repository}`
  if (tip === undefined) {
    line.say(`nothing that was lost in ${repository} is called ${id}: \`${words}\` lists it`)
    return 1
  }
  if (tip.without !== null) {
    line.say(
      plain(`${tip.ref} cannot be brought back from here, ${tip.without}: \`${words} ${id}\` says what is left to do`),
    )
    return 1
  }
  const wanted = { resource: resource!, repository: repository!, tip }
  // Awaited: the ticket goes when this returns.
  return await (branch === undefined ? asBundle(line, asked, wanted, to) : asBranch(line, asked, wanted, branch))
}

async function asBundle(
  line: CommandLine,
  asked: AskedGateway,
  { resource, repository, tip }: Wanted,
  to: string | undefined,
): Promise<number> {
  const file = resolve(to ?? `${basename(repository)}-${tip.id}.bundle`)
  const code = await fetchBundle(asked, repository, tip.id, file)
  if (code !== 0) return code
  const back = `restored/${tip.ref.replace(/^refs\/(?:heads|tags)\//, '')}`
  line.say(plain(`${file} has what ${tip.ref} lost (${many(tip.commits)}). In a clone of ${repository}:`))
  line.say(plain(`  git fetch ${file} ${tip.ref}:refs/heads/${back}`))
  line.say(plain(`  git push origin ${back}   # as any push: policy decides`))
  line.say(
    plain(`or at once, without a clone: sallyport git restore ${resource} ${repository} ${tip.id} --branch ${back}`),
  )
  return 0
}

/** In a repository of its own that has the commits of the server and none of its files, which nobody needs for that. */
async function asBranch(
  line: CommandLine,
  asked: AskedGateway,
  { resource, repository, tip }: Wanted,
  branch: string,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-restore-'))
  try {
    const bundle = join(folder, 'lost.bundle')
    const code = await fetchBundle(asked, repository, tip.id, bundle)
    if (code !== 0) return code
    const bare = join(folder, 'git')
    const git = (...args: string[]) => asked.git(bare, ...args)
    const all = ['+refs/heads/*:refs/remotes/origin/*', '+refs/tags/*:refs/tags/*']
    const steps = [
      () =>
        asked.git(
          folder,
          'init',
          '--quiet',
          '--bare',
          `--object-format=${tip.old.length === 40 ? 'sha1' : 'sha256'}`,
          bare,
        ),
      () => git('remote', 'add', 'origin', `${resource}:${repository}.git`),
      () => git('fetch', '--quiet', '--filter=blob:none', 'origin', ...all),
      () => git('fetch', '--quiet', bundle, `${tip.ref}:refs/heads/lost`),
      // Not over what is there: a name that is taken is refused.
      () =>
        git(
          'push',
          '--quiet',
          `--force-with-lease=refs/heads/${branch}:`,
          'origin',
          `refs/heads/lost:refs/heads/${branch}`,
        ),
    ]
    for (const step of steps) {
      const status = await step()
      if (status !== 0) return status
    }
    line.say(plain(`${many(tip.commits)} back in ${repository} as ${branch}, up to ${tip.old.slice(0, 12)}`))
    return 0
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** @returns the exit code; of what did not come whole nothing stays. */
async function fetchBundle(asked: AskedGateway, repository: string, id: string, file: string): Promise<number> {
  const { bytes, ended } = asked.bundle(repository, id)
  const [, code] = await Promise.all([pipeline(bytes, createWriteStream(file, { flags: 'wx', mode: 0o600 })), ended])
  if (code !== 0) rmSync(file, { force: true })
  return code
}
