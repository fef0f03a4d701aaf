import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import type { Readable } from 'node:stream'
import type { CommandLine, IssuedTicket } from '../../../gateway/protocol.ts'
import type { LostTip } from '../mirror/lost.ts'
import { optionsOf } from '../options.ts'

const mostBytes = 8 << 20

/** Asks the gateway what a repository lost, over the person's own session: one ticket for all questions. */
export class AskedGateway {
  readonly #env: Record<string, string>
  readonly ticket: IssuedTicket

  constructor(line: CommandLine, ticket: IssuedTicket) {
    this.ticket = ticket
    const { env } = line.client(ticket, [])
    if (env['GIT_SSH_COMMAND'] === undefined) throw new TypeError(`${ticket.resource.name} is no git server`)
    const set = Object.entries({ ...process.env, ...env }).filter(([, value]) => value !== undefined)
    this.#env = Object.fromEntries(set) as Record<string, string>
  }

  get repositories(): readonly string[] {
    return Object.keys(optionsOf(this.ticket.resource).repositories)
  }

  /** Newest first; a number is the exit code of a refusal, which the person has read. */
  async lost(repository: string): Promise<readonly LostTip[] | number> {
    const child = this.#ask(`sallyport-lost '${repository}'`)
    const [tips, status] = await Promise.all([readTips(child.stdout!), exitOf(child)])
    return status === 0 ? tips : status
  }

  /** The bundle of one of them, and how it ended. */
  bundle(repository: string, id: string): { readonly bytes: Readable; readonly ended: Promise<number> } {
    const child = this.#ask(`sallyport-lost '${repository}' ${id}`)
    return { bytes: child.stdout!, ended: exitOf(child) }
  }

  /** The person's own git in a folder. @returns its exit code. */
  git(folder: string, ...args: readonly string[]): Promise<number> {
    return exitOf(spawn('git', args, { cwd: folder, env: this.#env, stdio: ['ignore', 'ignore', 'inherit'] }))
  }

  [Symbol.dispose](): void {
    rmSync(this.ticket.folder, { recursive: true, force: true })
  }

  #ask(words: string): ChildProcess {
    const { GIT_SSH_COMMAND: ssh } = this.#env
    return spawn('/bin/sh', ['-c', `${ssh} "$@"`, 'sh', this.ticket.resource.name, words], {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
  }
}

async function readTips(stream: Readable): Promise<LostTip[]> {
  let text = ''
  for await (const chunk of stream) if (text.length < mostBytes) text += String(chunk)
  return text.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line) as LostTip]))
}

function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((done, reject) => {
    child.once('error', reject)
    child.once('close', code => done(code ?? 1))
  })
}
