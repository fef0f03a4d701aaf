/**
 * PostgreSQL's message framing, version 3 (PostgreSQL manual, 55.7): one type byte, an Int32 length that counts itself,
 * the body. State machine without input or output; it neither copies nor allocates for what lies whole in one chunk.
 */
export interface FrameSink {
  /**
   * A whole frame: `buffer[start]` is its type, the body is `buffer[start + 5 … end)`. `false`: not now; the reader holds
   * it and everything behind it until `resume`, which gives the same frame again.
   */
  frame(type: number, buffer: Buffer, start: number, end: number): boolean
  /** Part of a frame of a type that is passed on by pieces; the first piece begins with the type byte. */
  piece(type: number, buffer: Buffer, start: number, end: number, first: boolean): void
  /** Whether frames of this type may come by pieces now. A whole frame always comes through `frame`. */
  streams(type: number): boolean
  /** After the last frame or piece of a chunk. */
  drained(): void
}

export class FrameError extends Error {
  override readonly name = 'FrameError'
}

const header = 5
/** What a connection may hold without being counted: whoever fills the budget holds up no ordinary statement. */
const uncounted = 64 * 1024

/** INVARIANT: frames that are not complete yet keep no more than this in a process, however many connections send them. */
export class HeldBytes {
  readonly #limit: number
  #used = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** @returns false where there is no room; nothing is taken then. */
  take(bytes: number): boolean {
    if (bytes > 0 && this.#used + bytes > this.#limit) return false
    this.#used += bytes
    return true
  }
}

export class FrameReader {
  readonly #sink: FrameSink
  readonly #limit: number
  readonly #budget: HeldBytes | undefined
  #counted = 0
  #pending: Buffer[] = []
  #pendingBytes = 0
  #need = header
  #streamType = 0
  #streamLeft = 0
  #stopped = false

  /** @param limit the longest frame that is held in memory; one that streams may be longer. */
  constructor(sink: FrameSink, limit: number, budget?: HeldBytes) {
    this.#sink = sink
    this.#limit = limit
    this.#budget = budget
  }

  /** Bytes of frames that are not complete yet, or wait for `resume`. */
  get held(): number {
    return this.#pendingBytes
  }

  /** In the middle of a frame that is passed on by pieces: nothing else can be said on that stream now. */
  get streaming(): boolean {
    return this.#streamLeft > 0
  }

  get stopped(): boolean {
    return this.#stopped
  }

  /** @throws FrameError for a length that no frame has. The connection must be closed then. */
  push(chunk: Buffer): void {
    this.#read(chunk)
    this.#count(this.#pendingBytes)
  }

  #read(chunk: Buffer): void {
    if (this.#stopped) {
      this.#pending.push(chunk)
      this.#pendingBytes += chunk.length
      return
    }
    let offset = 0
    if (this.#streamLeft > 0) {
      offset = Math.min(this.#streamLeft, chunk.length)
      this.#streamLeft -= offset
      this.#sink.piece(this.#streamType, chunk, 0, offset, false)
    }
    if (offset < chunk.length) {
      if (this.#pendingBytes > 0) {
        this.#pending.push(chunk)
        this.#pendingBytes += chunk.length
        if (this.#pendingBytes < this.#need) return
        this.#parse(this.#pending.length === 1 ? this.#pending[0]! : Buffer.concat(this.#pending), 0)
      } else {
        this.#parse(chunk, offset)
      }
    }
    this.#sink.drained()
  }

  /** Goes on after the sink stopped. */
  resume(): void {
    this.#stopped = false
    if (this.#pendingBytes === 0) return
    this.#parse(this.#pending.length === 1 ? this.#pending[0]! : Buffer.concat(this.#pending), 0)
    this.#sink.drained()
    this.#count(this.#pendingBytes)
  }

  /** Lets go of what is held: nothing more is read. */
  release(): void {
    this.#hold(Buffer.alloc(0), 0, header)
    this.#count(0)
  }

  #count(held: number): void {
    const now = held > uncounted ? held : 0
    if (now === this.#counted || this.#budget === undefined) return
    if (!this.#budget.take(now - this.#counted))
      throw new FrameError(
        'too many long messages are on their way at once: send this one again in a moment, or in parts',
      )
    this.#counted = now
  }

  /** Takes away what was not parsed, for a stream that changes its language (TLS). */
  takeRest(): Buffer {
    const rest = Buffer.concat(this.#pending)
    this.#hold(rest, rest.length, header)
    this.#stopped = false
    return rest
  }

  #parse(buffer: Buffer, start: number): void {
    const sink = this.#sink
    const size = buffer.length
    let at = start
    while (size - at >= header) {
      const type = buffer[at]!
      const length = buffer.readInt32BE(at + 1)
      if (length < 4) throw new FrameError(`a message of type ${describe(type)} has the length ${length}`)
      const end = at + 1 + length
      if (end <= size) {
        if (length > this.#limit && !sink.streams(type)) throw tooLong(type, length, this.#limit)
        if (!sink.frame(type, buffer, at, end)) {
          this.#stopped = true
          this.#hold(buffer, at, header)
          return
        }
        at = end
      } else if (sink.streams(type)) {
        this.#streamType = type
        this.#streamLeft = end - size
        sink.piece(type, buffer, at, size, true)
        at = size
      } else {
        if (length > this.#limit) throw tooLong(type, length, this.#limit)
        this.#hold(buffer, at, 1 + length)
        return
      }
    }
    this.#hold(buffer, at, header)
  }

  #hold(buffer: Buffer, from: number, need: number): void {
    this.#pendingBytes = buffer.length - from
    // A small rest is copied, so that it does not keep a large chunk alive.
    const rest = from === 0 ? buffer : buffer.subarray(from)
    this.#pending = this.#pendingBytes === 0 ? [] : [this.#pendingBytes < 512 ? Buffer.from(rest) : rest]
    this.#need = need
  }
}

function tooLong(type: number, length: number, limit: number): FrameError {
  return new FrameError(`a message of type ${describe(type)} is ${length} bytes long; ${limit} is the most`)
}

function describe(type: number): string {
  return type > 0x20 && type < 0x7f ? `'${String.fromCharCode(type)}'` : `0x${type.toString(16)}`
}
