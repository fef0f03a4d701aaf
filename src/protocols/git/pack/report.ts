import { isError, wordsOf } from './lines.ts'
import { dataLine, flushLine, type Pkt, PktReader, WireError } from './pkt-line.ts'

const mostBytes = 32 * 1024 * 1024
const mostReason = 240
/** Letters of a line that goes on: of four bytes at most. */
const mostLine = 16_000

/** What became of the refs of a push (gitprotocol-pack(5), "Report Status"). */
export class Report {
  readonly #lines: Buffer[] = []
  readonly #reader = new PktReader()
  readonly #results = new Map<string, string | null>()
  unpack: string | null = null
  isDone = false
  #bytes = 0

  /** ref → null where it was done, else why it was not. */
  get results(): ReadonlyMap<string, string | null> {
    return this.#results
  }

  /** Bytes of the target's own report. @throws WireError */
  read(bytes: Buffer): undefined {
    this.#bytes += bytes.length
    if (this.#bytes > mostBytes) throw new WireError('a report without end')
    this.#reader.read(bytes, pkt => this.#line(pkt))
  }

  #line(pkt: Pkt): 'stop' | undefined {
    if (pkt.kind === 'flush') {
      this.isDone = true
      return 'stop'
    }
    if (pkt.kind !== 'data') throw new WireError('a report that is none')
    // Whatever a hook writes into its reason, the ref was taken or it was not.
    const text = wordsOf(pkt.payload)
    if (isError(pkt.payload)) throw new WireError(`an error in the place of its report: ${oneLine(text.slice(4))}`)
    if (text.startsWith('unpack ')) this.unpack = text.slice(7)
    else if (text.startsWith('ok ')) this.#results.set(text.slice(3), null)
    else if (text.startsWith('ng ')) {
      const [, ref, why = ''] = /^ng (\S+)(?: (.*))?$/.exec(text) ?? []
      if (ref !== undefined) this.#results.set(ref, why)
    } else if (!text.startsWith('option ')) throw new WireError('a line that belongs to no report')
    this.#lines.push(dataLine(`${text}\n`.slice(0, mostLine)))
    return undefined
  }

  /** The target's words, then what the gateway refused; of the gateway alone where the target was asked nothing. */
  write(refused: ReadonlyMap<string, string>, unpack = this.unpack ?? 'ok'): Buffer {
    const own = this.unpack === null ? [dataLine(`unpack ${oneLine(unpack)}\n`)] : []
    const ng = [...refused].map(([ref, why]) => dataLine(`ng ${ref} ${oneLine(why)}\n`))
    return Buffer.concat([...own, ...this.#lines, ...ng, flushLine])
  }
}

export function oneLine(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim()
  return line.length > mostReason ? `${line.slice(0, mostReason - 1)}…` : line
}
