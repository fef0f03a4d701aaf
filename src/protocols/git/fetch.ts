import type { CommandChannel, CommandReader, CommandSide, CommandStream, Hold } from '../../gateway/protocol.ts'
import { action } from './actions.ts'
import { Aside } from './aside.ts'
import { Advertisement, errorLine } from './pack/advertisement.ts'
import { fetchCapabilities } from './pack/capabilities.ts'
import { FetchRequest, FetchRequests2, offeredLine, type Request2, type Wanted } from './pack/fetch-request.ts'
import { isError, textOf } from './pack/lines.ts'
import { Passage, type Reading } from './pack/passage.ts'
import { dataLine, encode, type Pkt, PktReader, WireError } from './pack/pkt-line.ts'
import { KnownRefs } from './pack/refs-answer.ts'
import { banded, mostOfBand } from './pack/sideband.ts'
import type { Repository } from './repositories.ts'
import { denialLine, refusedStatus, unreadable } from './say.ts'

const mostHeld = 64 * 1024 * 1024
const shown = { refs: 2_000, objects: 100, text: 120_000 } as const

/**
 * `git-upload-pack`: what a client wants is judged before the target hears of it, in versions 0, 1 and 2. What the target sends
 * then goes on as it comes.
 */
export class FetchReader implements CommandReader {
  readonly #channel: CommandChannel
  readonly #repository: Repository
  readonly #known = new KnownRefs()
  readonly #fromClient = new PktReader()
  readonly #fromTarget = new PktReader()
  readonly #aside: Aside
  readonly #passage: Passage
  #version: 0 | 2 | undefined
  #advertisement: Advertisement | null = new Advertisement(fetchCapabilities)
  #request0: FetchRequest | null = null
  #requests2: FetchRequests2 | null = null
  /** Answers of version 2 that are still to come. */
  readonly #awaited: ('refs' | 'other')[] = []
  /** The client's lines of a request that is not whole yet. */
  #held: Buffer[] = []
  #heldBytes = 0
  #hold: Hold | undefined
  #waiting: Promise<void> | undefined
  #clientEnded = false
  #over = false

  constructor(channel: CommandChannel, repository: Repository) {
    this.#channel = channel
    this.#repository = repository
    this.#aside = new Aside(channel)
    this.#passage = new Passage(words => this.#aside.record(words))
  }

  fromTarget(bytes: Buffer, stream: CommandStream): undefined | Promise<void> {
    if (this.#over) return undefined
    if (stream === 'err') return this.#aside.err(bytes)
    return this.#orEnd(this.#channel.opened.resource.name, () => {
      const rest = this.#advertisement === null ? bytes : this.#advertised(bytes)
      return rest === undefined || rest.length === 0 ? undefined : this.#answered(rest)
    })
  }

  /** @returns what lies behind the advertisement. */
  #advertised(bytes: Buffer): Buffer | undefined {
    const onward: Buffer[] = []
    const rest = this.#fromTarget.read(bytes, pkt => {
      if (pkt.kind === 'flush') {
        onward.push(encode(pkt))
        return 'stop'
      }
      if (pkt.kind !== 'data') throw new WireError('an advertisement that is none')
      onward.push(...this.#advertisedLine(pkt))
      return undefined
    })
    if (rest !== undefined) this.#opened()
    if (onward.length > 0) this.#channel.toClient(Buffer.concat(onward))
    return rest
  }

  #advertisedLine(pkt: Extract<Pkt, { kind: 'data' }>): Buffer[] {
    if (isError(pkt.payload)) {
      this.#aside.record(pkt.payload.subarray(4))
      return [errorLine(pkt.payload)]
    }
    this.#version ??= pkt.payload.toString('latin1').trimEnd() === 'version 2' ? 2 : 0
    if (this.#version === 0) return [this.#advertisement!.line(pkt)]
    const line = offeredLine(textOf(pkt.payload))
    return line === undefined ? [] : [dataLine(`${line}\n`)]
  }

  #opened(): undefined {
    const { refs, symrefs } = this.#advertisement!
    for (const [ref, target] of symrefs) this.#known.symrefs.set(ref, target)
    for (const [ref, id] of refs) this.#known.add(ref, id)
    this.#advertisement = null
    if (this.#version === 2) this.#requests2 = new FetchRequests2()
    else this.#request0 = new FetchRequest()
  }

  #answered(bytes: Buffer): undefined | Promise<void> {
    let full: undefined | Promise<void>
    for (let rest: Buffer | undefined = bytes; rest !== undefined && rest.length > 0; ) {
      rest = this.#passage.read(rest, this.#reading(), piece => (full = this.#channel.toClient(piece)))
      if (rest !== undefined && this.#version === 2) this.#awaited.shift()
    }
    return full
  }

  #reading(): Reading {
    if (this.#version !== 2) {
      const bands = this.#wantsAreKnown ? this.#request0!.bands : null
      return { bands, isRaw: this.#wantsAreKnown && bands === null }
    }
    const [awaited] = this.#awaited
    if (awaited === undefined) throw new WireError('an answer that nobody asked for')
    if (awaited === 'other') return { bands: mostOfBand['side-band-64k'] }
    // The refs that the client is told of are known here too.
    return { bands: null, line: payload => this.#known.line(payload) }
  }

  fromClient(bytes: Buffer): undefined | Promise<void> {
    if (this.#waiting === undefined) return this.#read(bytes)
    return this.#waiting.then(() => this.#read(bytes))
  }

  #read(bytes: Buffer): undefined | Promise<void> {
    if (this.#over) return undefined
    return this.#orEnd('the client', () => {
      if (this.#advertisement !== null) throw new WireError('words before it was told what there is')
      const rest = this.#fromClient.read(bytes, pkt => this.#line(pkt))
      if (this.#waiting === undefined || rest === undefined || rest.length === 0) return undefined
      return this.#waiting.then(() => this.#read(rest))
    })
  }

  /** Reading stops behind a request that waits for approvers. */
  #line(pkt: Pkt): 'stop' | undefined {
    const bytes = encode(pkt)
    this.#held.push(bytes)
    this.#heldBytes += bytes.length
    if (this.#heldBytes > mostHeld) throw new WireError('a request without end')
    if (this.#request0 !== null) {
      const wanted = this.#request0.read(pkt)
      if (wanted === undefined && this.#wantsAreKnown) this.#forward()
      else if (wanted === 'none') this.#forward()
      else if (wanted !== undefined) {
        this.#wantsAreKnown = true
        this.#judge(wanted)
      }
    } else {
      const request = this.#requests2!.read(pkt)
      if (request !== undefined) this.#whole(request)
    }
    return this.#waiting === undefined ? undefined : 'stop'
  }

  #wantsAreKnown = false

  #whole(request: Request2): undefined {
    switch (request.command) {
      case 'nothing':
        return this.#forward()
      case 'ls-refs':
        this.#awaited.push('refs')
        return this.#forward()
      case 'fetch':
        this.#awaited.push('other')
        return this.#judge(request.wanted)
    }
  }

  #forward(): undefined {
    const bytes = Buffer.concat(this.#held)
    this.#held = []
    this.#heldBytes = 0
    this.#channel.toTarget(bytes)
  }

  #judge(wanted: Wanted): undefined {
    const { opened, id } = this.#channel
    const facts = this.#facts(wanted)
    const title = `fetch ${facts.repository}`
    const verdict = opened.gate.judge(
      [action('fetch', 'read', facts)],
      { text: `${title} ${listed(facts.refs, facts.refs_total + facts.objects_total)}`, extra: { channel: id } },
      { title, shown: () => [{ label: 'refs', lines: facts.refs }] },
    )
    opened.gate.record('git_fetch', {
      channel: id,
      ...facts,
      effect: verdict.allowed ? 'allow' : verdict.held ? 'ask' : 'deny',
    })
    if (verdict.held === undefined) {
      if (verdict.allowed) this.#forward()
      else this.#refuse(denialLine(verdict))
      return
    }
    const hold = verdict.held
    this.#hold = hold
    const told = hold.onProgress(line => void this.#channel.toClient(Buffer.from(`sallyport: ${line}\n`), 'err'))
    this.#waiting = hold.settled.then(settled => {
      told[Symbol.dispose]()
      this.#hold = undefined
      this.#waiting = undefined
      if (this.#over) return
      if (settled.allowed) this.#forward()
      else this.#refuse(denialLine(settled))
      if (this.#clientEnded) this.#channel.endTarget()
    })
  }

  #facts(wanted: Wanted) {
    const refs = new Set(wanted.refs)
    const objects: string[] = []
    for (const id of wanted.ids) {
      const names = this.#known.of(id)
      for (const name of names) refs.add(name)
      if (names.length === 0) objects.push(id)
    }
    let text = 0
    const some = [...refs].sort().filter((name, i) => (text += name.length) < shown.text && i < shown.refs)
    return {
      repository: this.#repository.name,
      refs: some,
      refs_total: refs.size,
      objects: objects.sort().slice(0, shown.objects),
      objects_total: objects.length,
      depth: wanted.depth,
      filter: wanted.filter,
    }
  }

  /** `ERR` is what git's clients show to their person. */
  #refuse(words: string): undefined {
    this.#over = true
    if (this.#passage.isBanded) for (const piece of banded(3, Buffer.from(words), 996)) this.#channel.toClient(piece)
    else this.#channel.toClient(dataLine(`ERR ${words}`.slice(0, 8000)))
    this.#channel.finish(refusedStatus)
  }

  #orEnd(who: string, run: () => undefined | Promise<void>): undefined | Promise<void> {
    try {
      return run()
    } catch (error) {
      this.#refuse(`sallyport: ${unreadable(this.#channel, who, error)}`)
      return undefined
    }
  }

  ended(side: CommandSide): undefined {
    if (side === 'target') return this.#aside.end()
    this.#clientEnded = true
    if (this.#waiting === undefined) this.#channel.endTarget()
  }

  closed(): undefined {
    this.#over = true
    this.#hold?.withdraw('the client is gone')
  }
}

export function listed(names: readonly string[], total: number): string {
  const some = names.slice(0, 5).join(', ')
  return total > 5 || names.length === 0
    ? `${some}${some === '' ? '' : ' and '}${total - Math.min(5, names.length)} more`
    : some
}
