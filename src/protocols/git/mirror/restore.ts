import { createReadStream } from 'node:fs'
import type { Command, CommandChannel, CommandReader, Opened, RefusedCommand } from '../../../gateway/protocol.ts'
import { action } from '../actions.ts'
import { lineOf } from '../command.ts'
import { type Repository, repositoryOf } from '../repositories.ts'
import type { LostTip } from './lost.ts'
import type { GitMirrors } from './mirrors.ts'

/** `sallyport-lost 'NAME'` lists, `sallyport-lost 'NAME' ID` sends a bundle: the gateway answers, and no server has such a command. */
const wanted = /^sallyport-lost '([^'\\!\n\r]{1,512})'(?: ([0-9a-f]{16}))?$/
const failed = 1

/** What a client asks for of what was lost; `undefined` for any other command. */
export function lostCommand(
  line: string,
  { resource }: Opened,
  mirrors: GitMirrors,
): Command | RefusedCommand | undefined {
  const [, asked, id = null] = wanted.exec(line) ?? []
  if (asked === undefined) return undefined
  const repository = repositoryOf(resource, asked)
  const whose = { resource: resource.name, repository: repository?.name ?? '' }
  const tip = id === null ? undefined : mirrors.lost(whose).find(each => each.id === id)
  if (repository === undefined || (id !== null && tip === undefined))
    return {
      refused: true,
      rule: 'git.lost',
      message:
        repository === undefined
          ? `${resource.name} has no repository called ${JSON.stringify(asked)} here`
          : `nothing that was lost in ${repository.name} is called ${id}`,
      remedy: 'list what was lost: sallyport git restore RESOURCE REPOSITORY',
    }
  return {
    refused: false,
    text: line,
    actions: [
      action('restore', 'admin', { repository: repository.name, ref: tip?.ref ?? null, old: tip?.old ?? null }),
    ],
    // Whoever may not read the repository on its server reads nothing of it here: the server says so itself.
    line: lineOf('upload-pack', repository.path),
    start: channel => new LostReader(channel, repository, mirrors, tip),
  }
}

class LostReader implements CommandReader {
  readonly #channel: CommandChannel
  readonly #repository: Repository
  readonly #mirrors: GitMirrors
  readonly #tip: LostTip | undefined
  #begun = false
  #gone = false

  constructor(channel: CommandChannel, repository: Repository, mirrors: GitMirrors, tip: LostTip | undefined) {
    this.#channel = channel
    this.#repository = repository
    this.#mirrors = mirrors
    this.#tip = tip
  }

  fromClient(): undefined {
    return undefined
  }

  fromTarget(bytes: Buffer, stream: 'out' | 'err'): undefined {
    if (this.#begun || this.#gone) return
    this.#begun = true
    // A server that refuses says so in words, or begins with an ERR line.
    if (stream === 'err' || bytes.toString('latin1', 4, 8) === 'ERR ')
      return this.#fail('the server does not let this login read the repository')
    void this.#answer().catch(() => this.#fail('it cannot be read any more'))
  }

  async #answer(): Promise<void> {
    const whose = { resource: this.#repository.resource.name, repository: this.#repository.name }
    if (this.#tip === undefined) {
      for (const each of this.#mirrors.lost(whose))
        await this.#channel.toClient(Buffer.from(`${JSON.stringify(each)}\n`))
    } else {
      const file = this.#mirrors.bundle(whose, this.#tip.id)
      if (file === undefined) return this.#fail(this.#tip.without ?? 'its files are not kept')
      for await (const chunk of createReadStream(file)) {
        if (this.#gone) return
        await this.#channel.toClient(chunk as Buffer)
      }
    }
    this.#channel.finish(0)
  }

  #fail(why: string): undefined {
    if (this.#gone) return
    this.#channel.toClient(Buffer.from(`sallyport: ${why}\n`), 'err')
    this.#channel.finish(failed)
  }

  ended(side: 'client' | 'target'): undefined {
    if (side === 'target' && !this.#begun) this.#fail('the server does not let this login read the repository')
  }

  closed(): void {
    this.#gone = true
  }
}
