import fc from 'fast-check'
import { parseCommand } from '../../../src/protocols/git/command.ts'
import { Advertisement } from '../../../src/protocols/git/pack/advertisement.ts'
import { fetchCapabilities } from '../../../src/protocols/git/pack/capabilities.ts'
import { PushCommands, type PushRequest, pushRequestLines } from '../../../src/protocols/git/pack/commands.ts'
import { FetchRequest, FetchRequests2 } from '../../../src/protocols/git/pack/fetch-request.ts'
import { Passage } from '../../../src/protocols/git/pack/passage.ts'
import {
  dataLine,
  delimLine,
  encode,
  flushLine,
  type Pkt,
  PktReader,
  WireError,
} from '../../../src/protocols/git/pack/pkt-line.ts'
import { Report } from '../../../src/protocols/git/pack/report.ts'
import { forTerminal } from '../../../src/protocols/git/pack/sideband.ts'
import type { Target } from '../postgres/targets.ts'

const id = fc.constantFrom('0'.repeat(40), '1'.repeat(40), 'f'.repeat(64), '12')
const name = fc.constantFrom(
  'refs/heads/main',
  'refs/tags/v1',
  'HEAD',
  'refs/heads/a\0report-status push-options',
  'refs/../x',
  'capabilities^{}',
)
const text = fc.oneof(
  fc.tuple(id, id, name).map(words => words.join(' ')),
  fc.tuple(id, name).map(words => words.join(' ')),
  fc
    .tuple(
      fc.constantFrom('want', 'have', 'shallow', 'deepen', 'filter', 'ok', 'ng', 'unpack', 'want-ref'),
      fc.oneof(id, name),
    )
    .map(words => words.join(' ')),
  fc.constantFrom(
    'done',
    'command=fetch',
    'command=ls-refs',
    'version 2',
    'version 1',
    'agent=x',
    'ref-prefix refs/',
    'push-cert\0x',
    'ERR no',
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
)
const some = fc.array(fc.oneof(text.map(dataLine), fc.constantFrom(flushLine, delimLine, Buffer.from('0002'))), {
  maxLength: 12,
})
const stream = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.tuple(some, fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 3 })).map(([lines, changes]) => {
    const bytes = Buffer.concat(lines)
    for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
    return new Uint8Array(bytes)
  }),
)
const prepare = async () => {}

export const targets: readonly Target[] = [
  { name: 'lines', input: stream, prepare, run: lines },
  { name: 'push', input: stream, prepare, run: push },
  { name: 'fetch', input: stream, prepare, run: fetch },
  { name: 'server', input: stream, prepare, run: server },
  {
    name: 'command',
    input: fc.string({ unit: 'binary', maxLength: 100 }).map(line => new Uint8Array(Buffer.from(line))),
    prepare,
    run: command,
  },
]

/** Refused in words, or read: nothing else may happen. @returns whether it was read. */
function taken(run: () => void): boolean {
  try {
    run()
    return true
  } catch (error) {
    if (error instanceof WireError) return false
    throw error
  }
}

function each(bytes: Buffer, take: (pkt: Pkt) => void): boolean {
  const reader = new PktReader()
  return taken(() =>
    reader.read(bytes, pkt => {
      take(pkt)
      return undefined
    }),
  )
}

/** What is read is written again the same; passing on and reading find the same flush. */
function lines(bytes: Buffer): void {
  const read: Pkt[] = []
  const whole = each(bytes, pkt => void read.push(pkt))
  const again = Buffer.concat(read.map(encode))
  const lower = (part: Buffer) => part.toString('latin1').toLowerCase()
  if (whole && lower(bytes.subarray(0, again.length)) !== lower(again)) throw new Error('written otherwise than read')
  const flush = read.findIndex(pkt => pkt.kind === 'flush')
  for (const bands of [null, 65_516]) passed(bytes, bytes.length >> 1, bands, whole && flush >= 0 ? read : undefined)
}

/** A pack goes through as it is, to the flush that reading finds too; all else is fit for a terminal. */
function passed(bytes: Buffer, at: number, bands: number | null, read: readonly Pkt[] | undefined): void {
  const passage = new Passage(() => {})
  const onward: Buffer[] = []
  let rest: Buffer | undefined
  const pass = (part: Buffer) => (rest = passage.read(part, { bands }, piece => void onward.push(Buffer.from(piece))))
  const isRead = taken(() => {
    if (pass(bytes.subarray(0, at)) === undefined) pass(bytes.subarray(at))
    else rest = Buffer.concat([rest!, bytes.subarray(at)])
  })
  const isPack = (pkt: Pkt) => pkt.kind === 'data' && bands !== null && pkt.payload[0] === 1
  const packOf = (pkts: readonly Pkt[]) => Buffer.concat(pkts.filter(isPack).map(encode)).toString('latin1')
  const told: Pkt[] = []
  each(Buffer.concat(onward), pkt => void told.push(pkt))
  for (const pkt of told)
    if (pkt.kind === 'data' && !isPack(pkt)) {
      const isBand = bands !== null && (pkt.payload[0] === 2 || pkt.payload[0] === 3)
      const words = isBand ? pkt.payload.subarray(1) : pkt.payload
      if (forTerminal(words) !== words) throw new Error('what no terminal should get goes on')
    }
  if (!isRead || read === undefined) return
  const before = read.slice(0, read.findIndex(pkt => pkt.kind === 'flush') + 1)
  const length = before.reduce((sum, pkt) => sum + encode(pkt).length, 0)
  if (rest === undefined || bytes.length - rest.length !== length) throw new Error('passed on otherwise than read')
  if (packOf(told).toLowerCase() !== packOf(before).toLowerCase()) throw new Error('a pack does not go on as it is')
}

/** What goes on is read by the next one as the same commands. */
function push(bytes: Buffer): void {
  const commands = new PushCommands()
  let request: PushRequest | undefined
  each(bytes, pkt => {
    if (!commands.isDone) request = commands.read(pkt) ?? request
  })
  if (request === undefined || request.commands.length === 0) return
  const format = request.commands[0]!.new?.length === 64 || request.commands[0]!.old?.length === 64 ? 'sha256' : 'sha1'
  const next = new PushCommands()
  let read: PushRequest | undefined
  each(pushRequestLines(request, request.commands, format), pkt => {
    read = next.read(pkt) ?? read
  })
  if (JSON.stringify(read?.commands) !== JSON.stringify(request.commands))
    throw new Error('it goes on as something else')
}

function fetch(bytes: Buffer): void {
  const [first, second] = [new FetchRequest(), new FetchRequests2()]
  each(bytes, pkt => void first.read(pkt))
  each(bytes, pkt => void second.read(pkt))
}

function server(bytes: Buffer): void {
  const [refs, report] = [new Advertisement(fetchCapabilities), new Report()]
  each(bytes, pkt => {
    if (pkt.kind === 'data') refs.line(pkt)
  })
  taken(() => report.read(bytes))
}

/** A known command holds nothing that a shell would read as more than itself. */
function command(bytes: Buffer): void {
  const asked = parseCommand(bytes.toString())
  if (asked === undefined) return
  const said = asked.kind === 'exec' ? asked.argv.join(' ') : asked.path
  if (/[\n\r\0'\\]/.test(said)) throw new Error(`it would be read as more: ${said}`)
}
