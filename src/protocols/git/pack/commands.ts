import { type Capabilities, parseCapabilities, pushCapabilities, unknownOf } from './capabilities.ts'
import { textOf } from './lines.ts'
import { dataLine, flushLine, type Pkt, WireError } from './pkt-line.ts'
import { idOf, isZero, refName } from './refs.ts'

const mostCommands = 10_000
const mostShallow = 100_000
const mostOptions = 64
const mostOptionBytes = 4096

export interface RefCommand {
  readonly ref: string
  /** Null for zeros. Both are, where a client deletes what it knows not to be there. */
  readonly old: string | null
  readonly new: string | null
}

/** What a client asks of a push, whole: everything up to the pack. */
export interface PushRequest {
  readonly commands: readonly RefCommand[]
  readonly shallow: readonly string[]
  readonly capabilities: Capabilities
  /** As the client wrote them. */
  readonly capabilityText: string
  readonly options: readonly string[]
}

/**
 * Reads the commands of a push (gitprotocol-pack(5), "Reference Update Request"). Without input or output. INVARIANT: nothing is
 * taken for a command that the server would read otherwise, and what stands before or behind them is read too (GI9).
 */
export class PushCommands {
  readonly #commands: RefCommand[] = []
  readonly #names = new Set<string>()
  readonly #shallow: string[] = []
  readonly #options: string[] = []
  #text = ''
  #capabilities: Capabilities = new Map()
  #place: 'commands' | 'options' | 'done' = 'commands'

  /** What the client said that it takes: known from its first command on. */
  get capabilities(): Capabilities {
    return this.#capabilities
  }

  get isDone(): boolean {
    return this.#place === 'done'
  }

  /** @returns the request once it is whole. @throws WireError */
  read(pkt: Pkt): PushRequest | undefined {
    if (pkt.kind === 'data') {
      if (this.#place === 'commands') this.#command(pkt.payload)
      else this.#option(pkt.payload)
      return undefined
    }
    if (pkt.kind !== 'flush') throw new WireError(`a ${pkt.kind} line among the commands of a push`)
    const options = this.#place === 'commands' && this.#capabilities.has('push-options') && this.#commands.length > 0
    this.#place = options ? 'options' : 'done'
    if (options) return undefined
    return {
      commands: this.#commands,
      shallow: this.#shallow,
      capabilities: this.#capabilities,
      capabilityText: this.#text,
      options: this.#options,
    }
  }

  #command(payload: Buffer): undefined {
    const nul = payload.indexOf(0)
    const line = nul < 0 ? withoutNewline(payload) : payload.subarray(0, nul)
    if (nul >= 0 && this.#commands.length > 0) throw new WireError('a NUL in the name of a ref')
    if (line.subarray(0, 8).toString('latin1') === 'shallow ') return this.#addShallow(line)
    if (line.subarray(0, 9).toString('latin1') === 'push-cert')
      throw new WireError('a signed push, which was not offered')
    const [old, next] = [line.indexOf(32), line.indexOf(32, line.indexOf(32) + 1)]
    if (old < 0 || next < 0) throw new WireError('a line that is no command of a push')
    if (nul >= 0) this.#capable(payload.subarray(nul + 1))
    const before = idOf(line.subarray(0, old).toString('latin1'))
    const after = idOf(line.subarray(old + 1, next).toString('latin1'))
    const ref = refName(line.subarray(next + 1))
    if (before.length !== after.length) throw new WireError('ids of two formats')
    if (this.#names.has(ref)) throw new WireError(`two commands for ${ref}`)
    if (this.#commands.length >= mostCommands) throw new WireError(`more than ${mostCommands} refs in one push`)
    this.#names.add(ref)
    this.#commands.push({ ref, old: isZero(before) ? null : before, new: isZero(after) ? null : after })
  }

  #addShallow(line: Buffer): undefined {
    if (this.#commands.length > 0) throw new WireError('a shallow line behind a command')
    if (this.#shallow.length >= mostShallow) throw new WireError(`more than ${mostShallow} shallow commits`)
    this.#shallow.push(idOf(line.subarray(8).toString('latin1')))
  }

  #capable(bytes: Buffer): undefined {
    this.#text = textOf(bytes).trim()
    const unknown = unknownOf(this.#text, pushCapabilities)
    if (unknown.length > 0) throw new WireError(`a capability that was not offered: ${unknown[0]!.slice(0, 60)}`)
    this.#capabilities = parseCapabilities(this.#text)
  }

  /** GI8: one line of plain text each. */
  #option(payload: Buffer): undefined {
    const bytes = withoutNewline(payload)
    if (this.#options.length >= mostOptions || bytes.length > mostOptionBytes)
      throw new WireError(`more push options than ${mostOptions}, or one of more than ${mostOptionBytes} bytes`)
    const text = textOf(bytes)
    if (text.includes(';')) throw new WireError('a push option with a semicolon in it')
    this.#options.push(text)
  }
}

function withoutNewline(bytes: Buffer): Buffer {
  return bytes.at(-1) === 10 ? bytes.subarray(0, -1) : bytes
}

/** What the target gets: these commands alone, in the client's words, and `also`, words of ours. */
export function pushRequestLines(
  { also = '', ...request }: PushRequest & { readonly also?: string },
  commands: readonly RefCommand[],
  format: 'sha1' | 'sha256',
): Buffer {
  const zero = '0'.repeat(format === 'sha1' ? 40 : 64)
  const lines = request.shallow.map(id => dataLine(`shallow ${id}`))
  for (const [i, { ref, old, new: next }] of commands.entries()) {
    const capable = i === 0 ? `\0 ${request.capabilityText}${also}` : ''
    lines.push(dataLine(`${old ?? zero} ${next ?? zero} ${ref}${capable}`))
  }
  lines.push(flushLine)
  if (commands.length > 0 && request.capabilities.has('push-options'))
    lines.push(...request.options.map(option => dataLine(option)), flushLine)
  return Buffer.concat(lines)
}
