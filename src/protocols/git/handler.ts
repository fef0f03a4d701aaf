import type { Command, CommandHandler, CommandRequest, Opened, RefusedCommand } from '../../gateway/protocol.ts'
import { action } from './actions.ts'
import { ArchiveReader } from './archive.ts'
import { type Asked, lineOf, parseCommand } from './command.ts'
import { FetchReader } from './fetch.ts'
import type { GitMirrors } from './mirror/mirrors.ts'
import { lostCommand } from './mirror/restore.ts'
import { optionsOf } from './options.ts'
import { PassReader } from './pass.ts'
import { PushReader } from './receive.ts'
import { type Repository, repositoriesOf, repositoryOf } from './repositories.ts'

/** Asks for a newer protocol. Nothing else of it is known, and what is not known does not go on. */
const version = /^version=[012]$/
const mostNamed = 8

/** Reads the commands of git resources. */
export class GitHandler implements CommandHandler {
  readonly #mirrors: GitMirrors

  constructor(mirrors: GitMirrors) {
    this.#mirrors = mirrors
  }

  tend(recorded: Parameters<NonNullable<CommandHandler['tend']>>[0]): Promise<void> {
    return this.#mirrors.tend(recorded)
  }

  admits(name: string, value: string): boolean {
    return name === 'GIT_PROTOCOL' && version.test(value)
  }

  take({ line }: CommandRequest, opened: Opened): Command | RefusedCommand {
    const { resource } = opened
    const lost = lostCommand(line, opened, this.#mirrors)
    if (lost !== undefined) return lost
    const asked = parseCommand(line)
    if (asked === undefined)
      return refused(
        'git.command',
        line === ''
          ? `${resource.name} is a git server and gives no shell`
          : 'this is none of the commands of a git client',
        `use git: git clone ${resource.name}:${repositoriesOf(resource)[0]}.git`,
      )
    if (asked.kind === 'exec') return this.#exec(asked.argv, opened)
    const repository = repositoryOf(resource, asked.path)
    if (repository === undefined) {
      const known = repositoriesOf(resource)
      const some = known.slice(0, mostNamed).join(', ')
      return refused(
        'git.repository',
        `${resource.name} has no repository called ${JSON.stringify(asked.path)} here`,
        `those are: ${some}${known.length > mostNamed ? ` and ${known.length - mostNamed} more` : ''}`,
      )
    }
    return this.#of(repository, asked, line)
  }

  #of(repository: Repository, asked: Exclude<Asked, { kind: 'exec' }>, text: string): Command {
    const { name, path } = repository
    switch (asked.kind) {
      case 'lfs': {
        const { program, operation } = asked
        return {
          refused: false,
          text,
          actions: [action('lfs', operation === 'upload' ? 'write' : 'read', { repository: name, operation, program })],
          line: `git-lfs-${program} ${path} ${operation}`,
          start: channel => new PassReader(channel),
        }
      }
      case 'receive-pack':
        return {
          refused: false,
          text,
          actions: [action('open', 'write', { repository: name, service: 'receive-pack' })],
          line: lineOf('receive-pack', path),
          start: channel => new PushReader(channel, repository, this.#mirrors),
        }
      default:
        return {
          refused: false,
          text,
          actions: [action('open', 'read', { repository: name, service: asked.kind })],
          line: lineOf(asked.kind, path),
          start: channel =>
            asked.kind === 'upload-pack'
              ? new FetchReader(channel, repository)
              : new ArchiveReader(channel, repository),
        }
    }
  }

  #exec(argv: readonly [string, ...string[]], { resource }: Opened): Command | RefusedCommand {
    const [program] = argv
    if (!optionsOf(resource).commands?.includes(program))
      return refused(
        'git.command',
        `${program} is none of the commands of ${resource.name}`,
        'its owner lists the commands of the server under options.commands of the resource',
      )
    const text = argv.join(' ')
    return { refused: false, text, actions: [action('exec', 'admin', { program, argv: [...argv] })], line: text }
  }
}

function refused(rule: string, message: string, remedy: string): RefusedCommand {
  return { refused: true, rule, message, remedy }
}
