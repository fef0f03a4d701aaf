import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { PushFault } from '../push.ts'
import type { Confined, Ended } from './confined.ts'
import { begun, type Git, plain, whyGit } from './git.ts'
import type { MirrorLimits } from './limits.ts'
import { isWhole } from './packing.ts'

/** What a whole pack is: its file holds the bytes that came, but where git had to add what a thin pack left out. */
export interface Pack {
  readonly file: string
  /** Bytes and objects as they came. */
  readonly bytes: number
  readonly objects: number
  /** First and last bytes as they came, which git writes anew where it adds something. */
  readonly head: Buffer
  readonly trailer: Buffer
}

const headBytes = 12
/** So often it is seen whether the disk has room for more. */
const roomBytes = 16 << 20

/**
 * Reads one pack as it comes: git indexes it in a confined process while it writes it into the objects of a quarantine. Nothing is
 * held here but the piece on its way.
 */
export class Intake {
  readonly whole: Promise<Pack>
  readonly #git: Git
  readonly #limits: MirrorLimits
  readonly #most: number
  readonly #hasRoom: (bytes: number) => boolean
  readonly #trailerBytes: number
  #resolve!: (pack: Pack) => void
  #reject!: (why: Error) => void
  #running: Confined | undefined
  #bytes = 0
  #head = Buffer.alloc(0)
  /** What came before the head was whole. */
  #early = Buffer.alloc(0)
  #trailer = Buffer.alloc(0)
  #objects = 0
  #over = false
  #roomUntil = 0
  readonly #late: NodeJS.Timeout

  constructor(
    git: Git,
    limits: MirrorLimits,
    bounds: { readonly most: number; readonly format: 'sha1' | 'sha256'; readonly hasRoom: (bytes: number) => boolean },
  ) {
    this.#git = git
    this.#limits = limits
    this.#most = bounds.most
    this.#hasRoom = bounds.hasRoom
    this.#trailerBytes = bounds.format === 'sha1' ? 20 : 32
    this.whole = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.whole.catch(() => {}) // whoever waits hears of it
    // From the beginning: who sends nothing at all holds a place too.
    this.#late = setTimeout(() => this.#fail(tooSlow()), limits.push_ms)
    this.#late.unref()
  }

  /** @returns a promise where git reads more slowly than the client sends. */
  write(chunk: Buffer): Promise<void> | undefined {
    if (this.#over || chunk.length === 0) return undefined
    this.#bytes += chunk.length
    this.#trailer = Buffer.concat([this.#trailer, chunk.subarray(-this.#trailerBytes)]).subarray(-this.#trailerBytes)
    if (this.#bytes > this.#most) {
      this.#fail(new PushFault('too_large', `the push is larger than ${mib(this.#most)} MiB`, 'push in smaller parts'))
      return undefined
    }
    if (this.#bytes > this.#roomUntil) {
      this.#roomUntil = this.#bytes + roomBytes
      if (!this.#hasRoom(0)) {
        this.#fail(noRoom())
        return undefined
      }
    }
    if (this.#head.length < headBytes) {
      this.#head = Buffer.concat([this.#head, chunk]).subarray(0, headBytes)
      if (this.#head.length < headBytes) {
        this.#early = Buffer.concat([this.#early, chunk])
        return undefined
      }
      const fault = this.#readHead()
      if (fault !== undefined) {
        this.#fail(fault)
        return undefined
      }
      const first = Buffer.concat([this.#early, chunk])
      this.#early = Buffer.alloc(0)
      this.#start()
      return this.#pass(first)
    }
    return this.#pass(chunk)
  }

  /** Nothing more will come. */
  end(): void {
    if (this.#running === undefined)
      this.#fail(new PushFault('bad_pack', `the pack ends after ${this.#bytes} bytes`, 'push again'))
    else this.#running.stdin!.end()
  }

  /** Gives up what is under way. */
  async stop(): Promise<void> {
    this.#fail(new PushFault('bad_pack', 'the push was given up'))
    this.#running?.kill('abort')
    await this.#running?.ended
  }

  #readHead(): PushFault | undefined {
    const version = this.#head.readUInt32BE(4)
    this.#objects = this.#head.readUInt32BE(8)
    if (this.#head.toString('latin1', 0, 4) !== 'PACK' || version < 2 || version > 3)
      return new PushFault('bad_pack', 'what was sent is no pack of version 2 or 3')
    if (this.#objects > this.#limits.pack_objects)
      return new PushFault(
        'too_large',
        `the push has ${this.#objects} objects, and more than ${this.#limits.pack_objects} are not taken at once`,
        'push in parts: older commits first',
      )
    return undefined
  }

  #start(): void {
    this.#running = this.#git.start(
      ['index-pack', '--stdin', '--fix-thin', `--max-input-size=${this.#most}`],
      { timeout_ms: this.#limits.push_ms, max_file: this.#most + (64 << 20), max_output: 64 << 10 },
      'input',
    )
    void this.#running.ended.then(begun).then(
      ended => this.#ended(ended),
      error => this.#fail(error as Error),
    )
  }

  #pass(chunk: Buffer): Promise<void> | undefined {
    const stdin = this.#running!.stdin as Writable
    if (stdin.destroyed || stdin.write(chunk)) return undefined
    return new Promise(resolve => {
      const done = () => {
        for (const event of ['drain', 'close', 'error']) stdin.off(event, done)
        resolve()
      }
      for (const event of ['drain', 'close', 'error']) stdin.on(event, done)
    })
  }

  #ended(ended: Ended): void {
    if (this.#over) return
    const [, id] = /^(?:pack|keep)\t([0-9a-f]{40,64})\n$/.exec(ended.stdout.toString('latin1')) ?? []
    if (ended.status !== 0 || ended.cut !== undefined || id === undefined) {
      this.#fail(this.#whyNot(ended))
      return
    }
    this.#over = true
    clearTimeout(this.#late)
    const pack: Pack = {
      file: join(this.#git.place.objects!, 'pack', `pack-${id}.pack`),
      bytes: this.#bytes,
      objects: this.#objects,
      head: this.#head,
      trailer: Buffer.from(this.#trailer),
    }
    isWhole(pack).then(
      whole => (whole ? this.#resolve(pack) : this.#reject(bytesBehind())),
      error => this.#reject(error),
    )
  }

  #whyNot(ended: Ended): PushFault {
    const { stderr, cut, status } = ended
    // What git read beyond the end it gives back behind its answer.
    if (status === 0 && cut === undefined) return bytesBehind()
    if (cut === 'time') return tooSlow()
    if (/unresolved delta/.test(stderr))
      return new PushFault(
        'bad_pack',
        'the pack has deltas whose base is neither in it nor known here',
        'push with `git push --no-thin`',
      )
    if (/out of memory|cannot allocate|mmap failed|unable to create thread/i.test(stderr) || status === null)
      return new PushFault(
        'too_large',
        'an object of the pack is larger than the gateway can look at',
        'push it in another form',
      )
    return new PushFault(
      'bad_pack',
      `the pack cannot be taken: ${whyGit({ ...ended, stderr: lastErrors(stderr) })}`,
      'look at it with `git fsck`, and push again',
    )
  }

  #fail(why: Error): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#late)
    this.#running?.kill('abort')
    this.#reject(why)
  }
}

const noRoom = () =>
  new PushFault('not_ready', 'the gateway has no room for a push now', 'tell an operator, and push again later')
const bytesBehind = () => new PushFault('bad_pack', 'there are bytes behind the end of the pack')
const tooSlow = () => new PushFault('too_large', 'the pack took too long', 'push in smaller parts')

const mib = (bytes: number): number => Math.floor(bytes / (1 << 20))

/** The last errors say why. */
export function lastErrors(text: string): string {
  const lines = text.split(/[\r\n]+/).filter(line => line !== '')
  const why = lines.filter(line => line.startsWith('fatal: ') || line.startsWith('error: ')).slice(-2)
  return plain((why.length > 0 ? why : lines.slice(-1)).join('; '))
}
