import fc from 'fast-check'
import { FrameError, FrameReader } from '../../../src/protocols/postgres/frames.ts'
import { BodyError, decodeError, decodeRowDescription, frame } from '../../../src/protocols/postgres/messages.ts'
import { makeVerifier, ScramError, ScramServer } from '../../../src/protocols/postgres/scram.ts'
import { createAnalyzer } from '../../../src/protocols/postgres/sql/analyze.ts'
import { withoutLiterals } from '../../../src/protocols/postgres/sql/literals.ts'
import { loadParser, parse } from '../../../src/protocols/postgres/sql/parse.ts'
import { Negotiation } from '../../../src/protocols/postgres/startup.ts'
import { Secret } from '../../../src/secret.ts'
import { attacks, useful } from '../../protocols/postgres/sql/corpus.ts'

/** One place that reads what strangers send. `run` throws what is a fault of ours, and nothing else. */
export interface Target {
  readonly name: string
  readonly input: fc.Arbitrary<Uint8Array>
  readonly prepare: () => Promise<unknown>
  readonly run: (bytes: Buffer) => void
}

const limit = 1000
const context = { searchPath: ['pg_catalog', 'public'], catalog: () => undefined }
const statements = [...useful, ...attacks.map(attack => attack.sql)]
const words = statements.flatMap(sql => sql.split(/(\s+|[(),;.])/)).filter(word => word !== '')
const verifier = makeVerifier(new Secret('fuzz'), Buffer.alloc(16, 7), 4096)

const bytes = fc.uint8Array({ maxLength: 600 })
const encoded = (text: fc.Arbitrary<string>) => text.map(each => new Uint8Array(Buffer.from(each)))
const chunk = fc
  .array(fc.tuple(fc.constantFrom(...'BCDEFHPQSXcdfp'), bytes), { maxLength: 5 })
  .map(frames => Buffer.concat(frames.map(([type, body]) => frame(type.charCodeAt(0), Buffer.from(body)))))
/** Frames as they should be, of which single bytes are not. */
const damaged = fc
  .tuple(chunk, fc.array(fc.tuple(fc.nat(4000), fc.nat(255)), { maxLength: 4 }))
  .map(([whole, changes]) => {
    for (const [at, value] of changes) if (at < whole.length) whole[at] = value
    return new Uint8Array(whole)
  })
const request = fc
  .tuple(fc.constantFrom(196608, 196610, 80877102, 80877103, 80877104, 0, -1), bytes)
  .map(([code, rest]) => {
    const head = Buffer.alloc(8)
    head.writeInt32BE(8 + rest.length)
    head.writeInt32BE(code, 4)
    return new Uint8Array(Buffer.concat([head, rest]))
  })
const mixed = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...words) },
      { weight: 2, arbitrary: fc.constantFrom(...statements) },
      fc.string({ unit: 'binary', maxLength: 12 }),
    ),
    { maxLength: 30 },
  )
  .map(parts => parts.join(' '))
const noise = fc.string({ unit: fc.constantFrom(...`'"$\\-/*;()[]{}eExXuU&@.,:0123456789ab \n`), maxLength: 80 })

export const targets: readonly Target[] = [
  { name: 'frames', input: fc.oneof(bytes, damaged), prepare: async () => {}, run: frames },
  { name: 'bodies', input: fc.oneof(bytes, damaged), prepare: async () => {}, run: bodies },
  { name: 'startup', input: fc.oneof(bytes, request), prepare: async () => {}, run: startup },
  {
    name: 'scram',
    input: fc.oneof(encoded(fc.string({ unit: 'binary' })), encoded(noise.map(text => `n,,n=,r=${text}`))),
    prepare: async () => {},
    run: scram,
  },
  {
    name: 'sql',
    input: encoded(
      fc.oneof(
        mixed,
        noise,
        mixed.map(text => text.slice(0, text.length / 2)),
      ),
    ),
    prepare: loadParser,
    run: sql,
  },
]

/** Whole, and in pieces of seven bytes: the same frames, or refused both times. */
function frames(input: Buffer): void {
  const whole = read([input])
  const pieces = read(Array.from({ length: Math.ceil(input.length / 7) }, (_, i) => input.subarray(i * 7, i * 7 + 7)))
  if (whole !== pieces) throw new Error(`whole: ${whole.slice(0, 200)}; in pieces: ${pieces.slice(0, 200)}`)
}

function read(chunks: readonly Buffer[]): string {
  const found: string[] = []
  const take = (buffer: Buffer, start: number, end: number) => {
    if (start < 0 || end > buffer.length || start > end) throw new Error(`a frame from ${start} to ${end}`)
    found.push(buffer.toString('hex', start, end))
  }
  const sink = {
    frame: (_type: number, buffer: Buffer, start: number, end: number) => {
      take(buffer, start, end)
      return true
    },
    piece: () => {},
    streams: () => false,
    drained: () => {},
  }
  const reader = new FrameReader(sink, limit)
  try {
    for (const each of chunks) reader.push(each)
  } catch (error) {
    if (!(error instanceof FrameError)) throw error
    found.push('refused')
  }
  if (reader.held > limit + 5) throw new Error(`${reader.held} bytes are held`)
  return found.join(' ')
}

function bodies(input: Buffer): void {
  for (const decode of [decodeError, decodeRowDescription]) {
    try {
      decode(input, 0, input.length)
    } catch (error) {
      if (!(error instanceof BodyError)) throw error
    }
  }
}

function startup(input: Buffer): void {
  const event = new Negotiation().step(input)
  if (event?.kind === 'startup' && !event.startup.user) throw new Error('a startup without a user')
}

function scram(input: Buffer): void {
  const server = new ScramServer(verifier, 'nonce')
  for (const step of [server.first.bind(server), server.final.bind(server)]) {
    try {
      if (step(input.toString('utf8'))?.startsWith('v=')) throw new Error('noise proved a secret')
    } catch (error) {
      if (!(error instanceof ScramError)) throw error
    }
  }
}

const cached = createAnalyzer(context)

/** Never throws; what the cache of shapes answers is what the parser answers; no literal is left in what is recorded. */
function sql(input: Buffer): void {
  const text = input.toString('utf8')
  withoutLiterals(text)
  // `texts` may differ by the white space around a statement.
  const plain = (analysis: unknown) =>
    JSON.stringify(analysis, (key, value) => (value instanceof Set ? [...value] : key === 'texts' ? undefined : value))
  const fresh = plain(createAnalyzer(context, { cache: false }).analyze(text))
  for (const turn of ['first', 'second']) {
    const got = plain(cached.analyze(text))
    if (got !== fresh) throw new Error(`the ${turn} answer of the cache is another one: ${got}, not ${fresh}`)
  }
  if (parse(text).ok && withoutLiterals(`${text} -- c\n;select 'CANARY'`).includes('CANARY'))
    throw new Error('a literal is left')
}
