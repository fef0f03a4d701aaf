import type { CommandChannel, CommandReader, CommandSide, CommandStream } from '../../gateway/protocol.ts'
import { action } from './actions.ts'
import { Aside } from './aside.ts'
import { textOf } from './pack/lines.ts'
import { Passage } from './pack/passage.ts'
import { dataLine, encode, flushLine, type Pkt, PktReader, WireError } from './pack/pkt-line.ts'
import { banded, mostOfBand } from './pack/sideband.ts'
import type { Repository } from './repositories.ts'
import { denialLine, refusedStatus, unreadable } from './say.ts'

const mostArguments = 64 // the server's own bound
/** Those that name no file of the server's, and no program. */
const plain =
  /^(?:--format=(?:tar|zip|tgz|tar\.gz)|--prefix=[^\0]{0,1024}|-[0-9]|-v|--verbose|--mtime=.{1,64}|--worktree-attributes)$/

/** ACK or NACK, then bands. */
const inBands = { bands: mostOfBand['side-band-64k'] } as const

/** `git-upload-archive` (git-upload-archive(1)): arguments to the flush, then one archive. The same gate as a fetch (GI4). */
export class ArchiveReader implements CommandReader {
  readonly #channel: CommandChannel
  readonly #repository: Repository
  readonly #aside: Aside
  readonly #passage: Passage
  readonly #reader = new PktReader()
  readonly #arguments: string[] = []
  readonly #held: Buffer[] = []
  #place: 'arguments' | 'waiting' | 'passing' | 'over' = 'arguments'
  #withdraw: ((why: string) => void) | undefined
  #clientEnded = false
  /** The server said ACK, which it does before it has read anything. */
  #acknowledged = false

  constructor(channel: CommandChannel, repository: Repository) {
    this.#channel = channel
    this.#repository = repository
    this.#aside = new Aside(channel)
    this.#passage = new Passage(words => this.#aside.record(words))
  }

  fromTarget(bytes: Buffer, stream: CommandStream): undefined | Promise<void> {
    if (this.#place === 'over') return undefined
    if (stream === 'err') return this.#aside.err(bytes)
    this.#acknowledged = true
    let full: undefined | Promise<void>
    this.#orEnd(this.#channel.opened.resource.name, () => {
      for (let rest: Buffer | undefined = bytes; rest !== undefined && rest.length > 0; )
        rest = this.#passage.read(rest, inBands, piece => (full = this.#channel.toClient(piece)))
    })
    return full
  }

  fromClient(bytes: Buffer): undefined {
    if (this.#place === 'over') return
    this.#orEnd('the client', () => {
      const rest = this.#reader.read(bytes, pkt => this.#line(pkt))
      if (rest !== undefined && rest.length > 0) throw new WireError('words behind the last one')
    })
  }

  #orEnd(who: string, run: () => void): undefined {
    try {
      run()
    } catch (error) {
      this.#refuse(`sallyport: ${unreadable(this.#channel, who, error)}`)
    }
  }

  #line(pkt: Pkt): 'stop' | undefined {
    if (this.#place !== 'arguments') throw new WireError('words behind the last one')
    this.#held.push(encode(pkt))
    if (pkt.kind === 'flush') {
      this.#judge()
      return 'stop'
    }
    const text = pkt.kind === 'data' ? textOf(pkt.payload) : ''
    if (!text.startsWith('argument ') || this.#arguments.length >= mostArguments)
      throw new WireError('what is no argument of an archive')
    this.#arguments.push(text.slice('argument '.length))
    return undefined
  }

  #judge(): undefined {
    const rest: string[] = []
    let format = 'tar'
    let onlyNames = false
    for (const each of this.#arguments) {
      if (onlyNames || !each.startsWith('-')) rest.push(each)
      else if (each === '--') onlyNames = true
      else if (!plain.test(each))
        throw new WireError(`an option of an archive that does not go on: ${each.slice(0, 60)}`)
      else if (each.startsWith('--format=')) format = each.slice('--format='.length)
    }
    const [tree, ...paths] = rest
    if (tree === undefined) throw new WireError('an archive of nothing')
    const { opened, id } = this.#channel
    const facts = { repository: this.#repository.name, tree, paths, format }
    const title = `archive of ${tree} in ${facts.repository}`
    const verdict = opened.gate.judge(
      [action('archive', 'read', facts)],
      { text: title, extra: { channel: id } },
      { title, shown: () => [{ label: 'archive', lines: [tree, ...paths] }] },
    )
    if (verdict.held !== undefined) {
      this.#place = 'waiting'
      this.#withdraw = why => verdict.held!.withdraw(why)
      const told = verdict.held.onProgress(
        line => void this.#channel.toClient(Buffer.from(`sallyport: ${line}\n`), 'err'),
      )
      void verdict.held.settled.then(settled => {
        told[Symbol.dispose]()
        if (this.#place === 'waiting') this.#settle(settled)
      })
    } else this.#settle(verdict)
  }

  #settle(verdict: Parameters<typeof denialLine>[0] & { readonly allowed: boolean }): undefined {
    if (!verdict.allowed) return this.#refuse(denialLine(verdict))
    this.#place = 'passing'
    this.#channel.toTarget(Buffer.concat(this.#held))
    if (this.#clientEnded) this.#channel.endTarget()
  }

  /** The client expects ACK, then bands. */
  #refuse(words: string): undefined {
    this.#place = 'over'
    this.#channel.toClient(
      Buffer.concat([
        ...(this.#acknowledged ? [] : [dataLine('ACK\n'), flushLine]),
        ...banded(2, Buffer.from(`${words}\n`)),
        ...banded(3, Buffer.from('refused\n')),
      ]),
    )
    this.#channel.finish(refusedStatus)
  }

  ended(side: CommandSide): undefined {
    if (side === 'target') return this.#aside.end()
    this.#clientEnded = true
    if (this.#place === 'passing') this.#channel.endTarget()
  }

  closed(): undefined {
    this.#place = 'over'
    this.#withdraw?.('the client is gone')
  }
}
