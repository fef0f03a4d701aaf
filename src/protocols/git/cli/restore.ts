import { spawn } from 'node:child_process'
import { createWriteStream, rmSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { CommandLine } from '../../../gateway/protocol.ts'
import type { LostTip } from '../mirror/lost.ts'

/** Lists what was lost in a repository, or fetches one of it as a bundle and says how it comes back. @returns the exit code. */
export async function restore(
  line: CommandLine,
  [resource, repository, id]: readonly string[],
  { role, to }: { readonly role?: string; readonly to?: string },
): Promise<number> {
  const ticket = await line.ticket(resource!, { role })
  try {
    const { env } = line.client(ticket, [])
    const ask = (words: string) => {
      const ssh = env['GIT_SSH_COMMAND']
      if (ssh === undefined) throw new TypeError(`${resource} is no git server`)
      const names = Object.entries({ ...process.env, ...env }).filter(([, value]) => value !== undefined)
      return spawn('/bin/sh', ['-c', `${ssh} "$@"`, 'sh', ticket.resource.name, words], {
        env: Object.fromEntries(names) as Record<string, string>,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
    }
    const all = ask(`sallyport-lost '${repository}'`)
    const [tips, status] = await Promise.all([readTips(all.stdout), exitOf(all)])
    if (status !== 0) return status
    if (id === undefined) {
      list(line, tips)
      return 0
    }
    const tip = tips.find(each => each.id === id)
    if (tip === undefined) {
      line.say(
        `nothing that was lost in ${repository} is called ${id}: \`sallyport git restore ${resource} ${repository}\` lists it`,
      )
      return 1
    }
    const file = resolve(to ?? `${basename(repository!)}-${id}.bundle`)
    const bundle = ask(`sallyport-lost '${repository}' ${id}`)
    const [, code] = await Promise.all([
      pipeline(bundle.stdout, createWriteStream(file, { flags: 'wx', mode: 0o600 })),
      exitOf(bundle),
    ])
    if (code !== 0) {
      rmSync(file, { force: true })
      return code
    }
    const branch = tip.ref.replace(/^refs\/(?:heads|tags)\//, '')
    line.say(`${file} has the ${tip.commits} commits that ${tip.ref} lost. In a clone of ${repository}:`)
    line.say(`  git fetch ${file} ${tip.ref}:refs/heads/restored/${branch}`)
    line.say(`  git push origin restored/${branch}   # as any push: policy decides`)
    return 0
  } finally {
    rmSync(ticket.folder, { recursive: true, force: true })
  }
}

function list(line: CommandLine, tips: readonly LostTip[]): void {
  if (tips.length === 0) line.say('nothing was lost here')
  for (const { id, at_ms, how, ref, old, commits, by, without } of tips) {
    const what = { delete: 'deleted', force: 'replaced', seen: 'gone' }[how]
    const who = by === null ? 'past the gateway' : `by ${by.subject}`
    line.say(
      `${id}  ${new Date(at_ms).toISOString()}  ${ref} ${what} ${who}: ${commits} commits up to ${old.slice(0, 12)}${without === null ? '' : `, not to be had: ${without}`}`,
    )
  }
}

const mostBytes = 8 << 20

async function readTips(stream: NodeJS.ReadableStream): Promise<LostTip[]> {
  let text = ''
  for await (const chunk of stream) if (text.length < mostBytes) text += String(chunk)
  return text.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line) as LostTip]))
}

function exitOf(child: ReturnType<typeof spawn>): Promise<number> {
  return new Promise((done, reject) => {
    child.once('error', reject)
    child.once('close', code => done(code ?? 1))
  })
}
