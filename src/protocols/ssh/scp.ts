import { posix } from 'node:path'
import { Transfer } from './sftp/transfer.ts'
import { decodeText, FieldError } from './wire/fields.ts'

/**
 * The old scp protocol (`scp -O`): rcp's lines over an exec of `scp -t PATH` (the target receives) or `scp -f PATH` (it
 * sends). The exec is judged once by direction and path; the files in it are told as they pass.
 */
export interface ScpCommand {
  readonly direction: 'upload' | 'download'
  readonly path: string
  readonly recursive: boolean
  /** `-d`: the path must be a folder. */
  readonly folder: boolean
}

/** Null where the words are no server side of scp, or have options that nobody here knows. */
export function parseScp(argv: readonly string[]): ScpCommand | null {
  if (argv[0] !== 'scp') return null
  const options = new Set<string>()
  let at = 1
  for (; at < argv.length && argv[at]!.startsWith('-') && argv[at] !== '-'; at++) {
    if (argv[at] === '--') {
      at++
      break
    }
    for (const letter of argv[at]!.slice(1)) options.add(letter)
  }
  const paths = argv.slice(at)
  if (options.has('t') === options.has('f') || paths.length !== 1 || paths[0] === '') return null
  if (![...options].every(letter => 'tfrpvdq'.includes(letter))) return null
  const direction = options.has('t') ? 'upload' : 'download'
  return { direction, path: paths[0]!, recursive: options.has('r'), folder: options.has('d') }
}

/** A file that went over; `name` is what the sender called it. */
export interface ScpFile {
  readonly path: string
  readonly name: string
  readonly direction: 'upload' | 'download'
  readonly size: number
  readonly sha256: string
  readonly failed: boolean
  readonly complete: boolean
}

const maxLine = 4096
const maxDepth = 100
const record = /^([CD])([0-7]{1,5}) (0|[1-9]\d{0,15}) ([^/]+)$/
const times = /^T\d{1,12} \d{1,6} \d{1,12} \d{1,6}$/

/**
 * Follows one such exec. State machine without input or output: give it what the sender sends and what the receiver
 * answers, in the order in which they pass.
 * INVARIANT: a name with a slash, `.` or `..` ends the channel (CVE-2019-6111), as does all that rcp's grammar does not have.
 */
export class ScpTracker {
  readonly #command: ScpCommand
  readonly #folders: string[] = []
  #state: 'line' | 'answer' | 'data' | 'trailer' | 'verdict' = 'line'
  #line: Buffer[] = []
  #lineBytes = 0
  #answer: Buffer[] | undefined
  #after: () => void = () => {}
  #file: { name: string; left: number; size: number; transfer: Transfer; failed: boolean } | undefined

  constructor(command: ScpCommand) {
    this.#command = command
  }

  /** @throws FieldError */
  fromSender(chunk: Buffer): ScpFile[] {
    const files: ScpFile[] = []
    let at = 0
    while (at < chunk.length) at = this.#take(chunk, at, files)
    return files
  }

  #take(chunk: Buffer, at: number, files: ScpFile[]): number {
    switch (this.#state) {
      case 'answer':
      case 'verdict':
        // A sender that only acknowledges the receiver's end says one zero more.
        if (this.#file === undefined && chunk[at] === 0) return at + 1
        throw new FieldError('a sender that does not wait for the answer')
      case 'data': {
        const file = this.#file!
        const end = Math.min(chunk.length, at + file.left)
        file.transfer.take(BigInt(file.size - file.left), [chunk.subarray(at, end)])
        file.left -= end - at
        if (file.left === 0) this.#state = 'trailer'
        return end
      }
      case 'trailer':
        if (chunk[at] === 0) {
          this.#state = 'verdict'
          return at + 1
        }
        this.#file!.failed = true // the sender could not read all of it, and says so in a line
        this.#finish(files)
        this.#state = 'line'
        return at
      case 'line':
        return this.#read(chunk, at)
    }
  }

  #read(chunk: Buffer, at: number): number {
    const newline = chunk.indexOf(10, at)
    const end = newline < 0 ? chunk.length : newline
    this.#line.push(Buffer.from(chunk.subarray(at, end)))
    this.#lineBytes += end - at
    if (this.#lineBytes > maxLine) throw new FieldError('a line that is too long')
    if (newline < 0) return end
    const line = Buffer.concat(this.#line)
    this.#line = []
    this.#lineBytes = 0
    this.#understand(line)
    return newline + 1
  }

  #understand(line: Buffer): void {
    if (line[0] === 1 || line[0] === 2) return // a message about a file that will not come
    const text = decodeText(line)
    const match = record.exec(text)
    this.#state = 'answer'
    this.#after = () => {
      this.#state = 'line'
    }
    if (text === 'E') {
      if (this.#folders.pop() === undefined) throw new FieldError('the end of a folder that was not begun')
    } else if (match !== null) this.#begin(match[1]!, Number(match[3]), match[4]!)
    else if (!times.test(text)) throw new FieldError('a line that scp does not have')
  }

  #begin(kind: string, size: number, name: string): void {
    if (name === '.' || name === '..' || /\p{Cc}/u.test(name)) throw new FieldError('a name that leads elsewhere')
    if (kind === 'D') {
      if (!this.#command.recursive) throw new FieldError('a folder that was not asked for')
      if (this.#folders.length === maxDepth) throw new FieldError('folders without an end')
      this.#after = () => {
        this.#state = 'line'
        this.#folders.push(name)
      }
      return
    }
    this.#after = () => {
      this.#file = { name, left: size, size, transfer: new Transfer(), failed: false }
      this.#state = size === 0 ? 'trailer' : 'data'
    }
  }

  /** @throws FieldError */
  fromReceiver(chunk: Buffer): ScpFile[] {
    const files: ScpFile[] = []
    for (const byte of chunk) {
      if (this.#answer !== undefined) {
        if (this.#answer.push(Buffer.of(byte)) > maxLine) throw new FieldError('a line that is too long')
        if (byte === 10) {
          this.#answer = undefined
          this.#answered(false, files)
        }
      } else if (byte === 0) this.#answered(true, files)
      else if (byte === 1 || byte === 2) this.#answer = []
      else throw new FieldError('an answer that scp does not have')
    }
    return files
  }

  #answered(good: boolean, files: ScpFile[]): void {
    if (this.#state === 'answer') {
      if (good) this.#after()
      else this.#state = 'line'
    } else if (this.#file !== undefined) {
      // While data is still under way, the receiver says at once that it cannot be written.
      if (!good) this.#file.failed = true
      if (this.#state !== 'verdict') return
      this.#finish(files)
      this.#state = 'line'
    }
  }

  #finish(files: ScpFile[], complete = true): void {
    const { name, transfer, failed } = this.#file!
    this.#file = undefined
    const { direction, path, recursive, folder } = this.#command
    const { size, sha256 } = transfer.end()
    const inside = folder || recursive || this.#folders.length > 0
    const where = direction === 'upload' && inside ? posix.join(path, ...this.#folders, name) : path
    const down = direction === 'download' && recursive ? posix.join(posix.dirname(path), ...this.#folders, name) : where
    files.push({ path: down, name, direction, size, sha256, failed, complete })
  }

  /** The channel is over: a file in the middle of its bytes. */
  end(): ScpFile[] {
    const files: ScpFile[] = []
    if (this.#file !== undefined) this.#finish(files, false)
    return files
  }
}
