import { type Capabilities, onlyKnown, parseCapabilities, symrefsOf } from './capabilities.ts'
import { isError, textOf } from './lines.ts'
import { dataLine, maxPayload, type Pkt, WireError } from './pkt-line.ts'
import { idOf } from './refs.ts'
import { forTerminal } from './sideband.ts'

const mostRefs = 500_000
const mostBytes = 64 * 1024 * 1024

/**
 * What a server says first in versions 0 and 1 (gitprotocol-pack(5)): each ref with its object, and on the first line what it
 * can do. Without input or output: `line` takes one and gives what goes on in its place.
 */
export class Advertisement {
  readonly #known: ReadonlySet<string>
  readonly #added: string
  readonly refs = new Map<string, string>()
  readonly shallow: string[] = []
  symrefs: ReadonlyMap<string, string> = new Map()
  capabilities: Capabilities = new Map()
  #first = true
  /** What the server can do, where the line that said it does not go on: it stands on the next one that does. */
  #unsaid: string | null = null
  #bytes = 0

  /** Capabilities that are not `known` are left out; `added` are ours. */
  constructor(known: ReadonlySet<string>, added = '') {
    this.#known = known
    this.#added = added
  }

  get objectFormat(): 'sha1' | 'sha256' {
    return this.capabilities.get('object-format') === 'sha256' ? 'sha256' : 'sha1'
  }

  /** @returns the line that the client gets. @throws WireError */
  line(pkt: Extract<Pkt, { kind: 'data' }>): Buffer {
    this.#bytes += pkt.payload.length
    if (this.#bytes > mostBytes || this.refs.size >= mostRefs) throw new WireError('more refs than are read here')
    if (isError(pkt.payload)) return errorLine(pkt.payload)
    const nul = pkt.payload.indexOf(0)
    const text = textOf(nul < 0 ? pkt.payload : pkt.payload.subarray(0, nul))
    if (nul < 0 && text === 'version 1') return dataLine(pkt.payload)
    const isShallow = text.startsWith('shallow ')
    if (isShallow) this.shallow.push(idOf(text.slice(8)))
    else this.#ref(text)
    // What it has of other repositories is not known here: a pack that stands upon it could not be judged.
    const have = text.endsWith(' .have')
    if (nul < 0 && have) return Buffer.alloc(0)
    if (nul < 0 && this.#unsaid === null) return dataLine(pkt.payload)
    if (nul < 0) return isShallow ? Buffer.concat([this.end(), dataLine(pkt.payload)]) : this.#say(text)
    if (!this.#first) throw new WireError('capabilities on a line that is not the first')
    const words = textOf(pkt.payload.subarray(nul + 1))
    this.capabilities = parseCapabilities(words)
    this.symrefs = symrefsOf(words)
    this.#first = false
    this.#unsaid = onlyKnown(`${words} ${this.#added}`, this.#known)
    return have ? Buffer.alloc(0) : this.#say(text)
  }

  /** Before the flush, and before shallow commits: a server that has no ref of its own says what it can do by itself. */
  end(): Buffer {
    if (this.#unsaid === null) return Buffer.alloc(0)
    return this.#say(`${'0'.repeat(this.objectFormat === 'sha1' ? 40 : 64)} capabilities^{}`)
  }

  #say(line: string): Buffer {
    const words = this.#unsaid
    this.#unsaid = null
    return dataLine(`${line}\0${words}\n`)
  }

  #ref(text: string): undefined {
    const [, id, name] = /^([0-9a-f]+) (.+)$/.exec(text) ?? []
    if (name === undefined) throw new WireError('a line that is no ref')
    idOf(id!)
    if (name === 'capabilities^{}' || name === '.have') return
    this.refs.set(name, id!)
  }
}

/** The server's last word, fit for a terminal. */
export function errorLine(payload: Buffer): Buffer {
  return dataLine(forTerminal(payload).subarray(0, maxPayload))
}
