import { fetchCapabilities, onlyKnown, unknownOf } from './capabilities.ts'
import { textOf } from './lines.ts'
import { type Pkt, WireError } from './pkt-line.ts'
import { idOf, refName } from './refs.ts'
import { mostOfBand } from './sideband.ts'

const mostWants = 500_000

/** What a client wants of a fetch, in every version of the protocol. */
export interface Wanted {
  readonly ids: readonly string[]
  /** Version 2, `want-ref`. */
  readonly refs: readonly string[]
  readonly depth: number | null
  readonly filter: string | null
}

class Wishes {
  readonly ids = new Set<string>()
  readonly refs = new Set<string>()
  depth: number | null = null
  filter: string | null = null

  want(id: string): undefined {
    if (this.ids.size >= mostWants) throw new WireError(`more than ${mostWants} wants`)
    this.ids.add(idOf(id))
  }

  /** Words that stand in both versions. @returns whether it was one. */
  also(text: string): boolean {
    const at = text.indexOf(' ')
    const [word, value] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
    switch (word) {
      case 'shallow':
        idOf(value)
        return true
      case 'deepen':
        if (!/^\d{1,10}$/.test(value)) throw new WireError('a depth that is no number')
        this.depth = Number(value)
        return true
      case 'deepen-since':
        if (!/^\d{1,15}$/.test(value)) throw new WireError('an instant that is no number')
        this.depth ??= 0
        return true
      case 'deepen-not':
        this.depth ??= 0
        return true
      case 'filter':
        if (!/^[a-z]+(?::[A-Za-z0-9%=:,+-]{0,256})+$/.test(value))
          throw new WireError('a filter that is not understood')
        this.filter = value
        return true
      default:
        return false
    }
  }

  get wanted(): Wanted {
    return { ids: [...this.ids], refs: [...this.refs], depth: this.depth, filter: this.filter }
  }
}

/** The client's side of versions 0 and 1 (gitprotocol-pack(5), "Packfile Negotiation"): wants to the flush, then what it has. */
export class FetchRequest {
  readonly #wishes = new Wishes()
  #place: 'wants' | 'haves' | 'over' = 'wants'
  /** How the answer comes: the longest line of its bands, or null for a pack by itself. */
  bands: number | null = null

  /** @returns what it wants once that is whole; `none` where it only looked at the refs. @throws WireError */
  read(pkt: Pkt): Wanted | 'none' | undefined {
    if (this.#place === 'wants') return this.#want(pkt)
    if (this.#place === 'over') throw new WireError('words behind the last one')
    if (pkt.kind !== 'data') return flushed(pkt)
    const text = textOf(pkt.payload)
    if (text === 'done') this.#place = 'over'
    else if (text.startsWith('have ')) idOf(text.slice(5))
    else throw new WireError('a line that belongs nowhere in a fetch')
    return undefined
  }

  #want(pkt: Pkt): Wanted | 'none' | undefined {
    if (pkt.kind !== 'data') {
      flushed(pkt)
      const { ids } = this.#wishes
      this.#place = ids.size === 0 ? 'over' : 'haves'
      return ids.size === 0 ? 'none' : this.#wishes.wanted
    }
    const text = textOf(pkt.payload)
    if (text.startsWith('want ')) {
      const [id, ...words] = text.slice(5).split(' ')
      const unknown = unknownOf(words.join(' '), fetchCapabilities)
      if (unknown.length > 0) throw new WireError(`a capability that was not offered: ${unknown[0]!.slice(0, 60)}`)
      if (words.length > 0 && this.#wishes.ids.size > 0)
        throw new WireError('capabilities on a line that is not the first')
      if (words.length > 0) this.bands = bandsOf(words)
      this.#wishes.want(id!)
    } else if (!this.#wishes.also(text)) throw new WireError('a line that belongs nowhere in a fetch')
    return undefined
  }
}

function bandsOf(words: readonly string[]): number | null {
  for (const name of ['side-band-64k', 'side-band'] as const) if (words.includes(name)) return mostOfBand[name]
  return null
}

function flushed(pkt: Pkt): undefined {
  if (pkt.kind !== 'flush') throw new WireError(`a ${pkt.kind} line in version 0`)
}

const offered = new Set(['agent', 'ls-refs', 'fetch', 'object-format', 'session-id'])
/** Of `fetch` in version 2. Not `packfile-uris`, which sends clients to other servers. */
const features = new Set(['shallow', 'wait-for-done', 'filter', 'ref-in-want', 'sideband-all'])

/** A line of what a server of version 2 can do, without what is not known here. @returns undefined where nothing is left. */
export function offeredLine(text: string): string | undefined {
  if (text === 'version 2') return text
  const [word, value] = split(text)
  if (!offered.has(word)) return undefined
  return word === 'fetch' && value !== null ? `fetch=${onlyKnown(value, features)}` : text
}

function split(text: string): [string, string | null] {
  const at = text.indexOf('=')
  return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)]
}

/** One request of version 2 (gitprotocol-v2(5)). `nothing`: the client has no more. */
export type Request2 =
  | { readonly command: 'ls-refs' }
  | { readonly command: 'fetch'; readonly wanted: Wanted }
  | { readonly command: 'nothing' }

const lsRefs = /^(?:peel|symrefs|unborn|ref-prefix .{0,1024})$/
const flags = new Set([
  'thin-pack',
  'no-progress',
  'include-tag',
  'ofs-delta',
  'done',
  'deepen-relative',
  'sideband-all',
  'wait-for-done',
])

/** The client's side of version 2: requests, each whole at its flush. */
export class FetchRequests2 {
  #command: 'ls-refs' | 'fetch' | undefined
  #inArguments = false
  #begun = false
  #wishes = new Wishes()

  /** @throws WireError for what was not offered. */
  read(pkt: Pkt): Request2 | undefined {
    switch (pkt.kind) {
      case 'end':
        throw new WireError('an end line of a client')
      case 'delim':
        if (this.#inArguments || this.#command === undefined) throw new WireError('a delimiter at the wrong place')
        this.#inArguments = true
        return undefined
      case 'flush':
        return this.#whole()
      case 'data':
        this.#begun = true
        if (this.#inArguments) this.#argument(textOf(pkt.payload))
        else this.#capability(textOf(pkt.payload))
        return undefined
    }
  }

  #whole(): Request2 {
    const [command, wanted, begun] = [this.#command, this.#wishes.wanted, this.#begun]
    this.#command = undefined
    this.#inArguments = false
    this.#begun = false
    this.#wishes = new Wishes()
    if (!begun) return { command: 'nothing' }
    if (command === undefined) throw new WireError('a request without a command')
    return command === 'fetch' ? { command, wanted } : { command }
  }

  #capability(text: string): undefined {
    const [word, value] = split(text)
    if (word === 'command') {
      if (this.#command !== undefined || (value !== 'ls-refs' && value !== 'fetch'))
        throw new WireError(`a command that was not offered: ${String(value).slice(0, 60)}`)
      this.#command = value
    } else if (word !== 'agent' && word !== 'object-format' && word !== 'session-id')
      throw new WireError(`a capability that was not offered: ${word.slice(0, 60)}`)
  }

  #argument(text: string): undefined {
    if (this.#command === 'ls-refs') {
      if (!lsRefs.test(text)) throw new WireError('an argument of ls-refs that is not known')
    } else if (text.startsWith('want ')) this.#wishes.want(text.slice(5))
    else if (text.startsWith('want-ref ')) this.#wishes.refs.add(refName(Buffer.from(text.slice(9))))
    else if (text.startsWith('have ')) idOf(text.slice(5))
    else if (!flags.has(text) && !this.#wishes.also(text)) throw new WireError('an argument of fetch that is not known')
  }
}
