import { describe, expect, test } from 'vitest'
import { TerminalScreen } from '../../src/cli/screens.ts'
import { asciicast } from '../../src/recording/asciicast.ts'
import { ChannelList } from '../../src/recording/channel-list.ts'
import { jsonLine, parseLine, type ReplayLine, renderLine, replayLines } from '../../src/recording/render.ts'
import { channelAddress } from '../../src/recording/terminal.ts'

const began = Date.UTC(2026, 10, 25, 12)
const facts = { subject_name: 'Ada <script>\x1b]0;x\x07', role: 'operator', resource: 'web-1', session_id: 'ses_1' }
const first: ReplayLine = { kind: 'recording', ...facts }
const end = (more: object = {}): ReplayLine => ({ kind: 'end', state: 'sealed', ok: true, problem: null, ...more })
/** As a line of the API: what was bytes is base64. */
const at = (ms: number, kind: string, body: object): ReplayLine =>
  parseLine(jsonLine({ kind, at_ms: began + ms, part: 1, seq: 1, conn: 'con_1', ...body }))
const output = (ms: number, data: string | Buffer, channel = 0, stream = 'out') =>
  at(ms, 'output', { channel, stream, data: Buffer.from(data) })
const resize = (ms: number, columns: number, rows: number, channel = 0) => at(ms, 'resize', { channel, columns, rows })

async function cast(lines: readonly ReplayLine[], asked?: number | string): Promise<string[]> {
  const channel = asked === undefined ? undefined : channelAddress(String(asked))
  const made: string[] = []
  for await (const line of asciicast(each(lines), { channel })) made.push(line)
  return made
}
async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

/** Reads asciicast v2 as its description has it, and nothing else. */
function read(lines: readonly string[]) {
  for (const line of lines) expect(line).toMatch(/^[^\n]+\n$/)
  const [head, ...events] = lines.map(line => JSON.parse(line) as unknown)
  const header = head as Record<string, unknown>
  expect(header['version']).toBe(2)
  for (const name of ['width', 'height', 'timestamp']) expect(Number.isInteger(header[name]), name).toBe(true)
  expect(typeof header['title']).toBe('string')
  for (const value of Object.values(header['env'] as object)) expect(typeof value).toBe('string')
  let before = 0
  for (const event of events as [number, string, string][]) {
    expect(event).toHaveLength(3)
    const [time, code, data] = event
    expect(time).toBeGreaterThanOrEqual(before)
    before = time
    expect(['o', 'i', 'r', 'm']).toContain(code)
    expect(typeof data).toBe('string')
    if (code === 'r') expect(data).toMatch(/^\d+x\d+$/)
  }
  return { header, events: events as [number, string, string][] }
}

describe('asciicast v2', () => {
  test('gives what a terminal showed back: output, sizes, times, and in the clear view what was typed', async () => {
    const { header, events } = read(
      await cast([
        first,
        at(0, 'channel_open', { channel: 0 }),
        at(2, 'resize', { channel: 0, columns: 120, rows: 40, term: 'xterm' }),
        output(100, '$ '),
        at(1_100, 'input', { channel: 0, data: Buffer.from('ls\r') }),
        output(1_200, 'häuser\r\n'),
        resize(2_100, 100, 30),
        output(2_600, 'warn', 0, 'err'),
        at(3_000, 'exit', { channel: 0, code: 0 }),
        end(),
      ]),
    )
    expect(header).toMatchObject({ width: 120, height: 40, timestamp: began / 1000, env: { TERM: 'xterm' } })
    expect(header['title']).toBe('Ada <script>\\u001b]0;x\\u0007 as operator on web-1, ses_1')
    expect(events).toEqual([
      [0, 'o', '$ '],
      [1, 'i', 'ls\r'],
      [1.1, 'o', 'häuser\r\n'],
      [2, 'r', '100x30'],
      [2.5, 'o', 'warn'],
    ])
  })

  test('a character that two records share is whole, and bytes that are none are replaced', async () => {
    const bytes = Buffer.from('日本')
    const { events } = read(
      await cast([
        first,
        output(0, bytes.subarray(0, 4)),
        output(1, bytes.subarray(4)),
        output(2, Buffer.from([0xff, 65])),
        end(),
      ]),
    )
    expect(events.map(event => event[2]).join('')).toBe('日本\ufffdA')
  })

  test('RE6: hostile sequences are not in it, also where two records share one', async () => {
    const { events } = read(await cast([first, output(0, 'a\x1b]52;c;ZXZ'), output(1, 'pbA==\x07b\x1b[6n'), end()]))
    expect(events.map(event => event[2]).join('')).toBe('ab')
  })

  test('one channel is in it: the first terminal, or the one that is asked for', async () => {
    const lines = [first, resize(0, 80, 24, 0), output(1, 'zero', 0), output(2, 'two', 2), output(3, '!', 0), end()]
    const texts = async (channel?: number) => read(await cast(lines, channel)).events.map(event => event[2])
    expect(await texts()).toEqual(['zero', '!'])
    expect(await texts(2)).toEqual(['two'])
    await expect(texts(1)).rejects.toMatchObject({
      code: 'not_found',
      remedy: expect.stringContaining('0, 2') as string,
    })
  })

  const of = (conn: string, line: ReplayLine): ReplayLine => ({ ...line, conn })
  /** Two connections of one session, whose channels have the same numbers. */
  const two = [
    first,
    of('con_00first', resize(0, 80, 24)),
    of('con_00first', output(1, 'one')),
    of('con_0second', resize(2, 100, 30)),
    of('con_0second', output(3, 'two')),
    of('con_0second', output(4, 'three', 1)),
    end(),
  ]

  test('a terminal of a later connection is asked for by the end of its id and its number', async () => {
    const texts = async (channel?: string) => read(await cast(two, channel)).events.map(event => event[2])
    expect(await texts()).toEqual(['one'])
    expect(await texts('0')).toEqual(['one'])
    expect(await texts('second:0')).toEqual(['two'])
    expect(await texts('con_0second:1')).toEqual(['three'])
    expect(read(await cast(two, 'second:0')).header).toMatchObject({ width: 100, height: 30 })
    await expect(texts('first:1')).rejects.toMatchObject({
      message: 'channel first:1 of this recording has terminal output',
      remedy: 'ask for one of the channels 0first:0, second:0, second:1',
    })
  })

  test.each(['', 'x', '1:', ':1', 'a:b:1', '-1', '99999999999', 'con_1:1x'])('%j is no channel', text => {
    expect(() => channelAddress(text)).toThrow('a channel is a number')
  })

  test('channels are listed with their connection, size, what runs on them and how much they put out', () => {
    const list = new ChannelList()
    for (const line of [
      at(0, 'statement', { channel: 0, request: 'pty-req', text: 'terminal xterm' }),
      at(1, 'statement', { channel: 0, request: 'exec', text: 'top' }),
      ...two,
      at(10, 'channel_open', { channel: 3, type: 'direct-tcpip' }),
    ])
      list.take(line)
    expect(list.channels.map(({ address, bytes, what }) => [address, bytes, what])).toEqual([
      ['con_1:0', 0, 'top'],
      ['0first:0', 3, ''],
      ['second:0', 3, ''],
      ['second:1', 5, ''],
      ['con_1:3', 0, 'direct-tcpip'],
    ])
    expect(list.channels[2]?.terminal).toEqual({ cols: 100, rows: 30 })
  })

  test('a recording without a terminal is refused', async () => {
    await expect(cast([first, at(0, 'statement', { text: 'select 1' }), end()])).rejects.toMatchObject({
      code: 'not_found',
      message: 'no channel of this recording has terminal output',
    })
  })

  test('a hole is a marker, and what does not verify ends in one and in an error', async () => {
    const made: string[] = []
    const lines = [
      first,
      output(0, 'a'),
      at(5, 'gap', { from_seq: 3, to_seq: 9 }),
      end({ ok: false, problem: 'part 1, segment 2' }),
    ]
    const all = async () => {
      for await (const line of asciicast(each(lines))) made.push(line)
    }
    await expect(all()).rejects.toMatchObject({ code: 'internal', message: 'the replay is not whole' })
    expect(
      read(made)
        .events.slice(1)
        .map(event => [event[1], event[2]]),
    ).toEqual([
      ['m', 'events are missing here'],
      ['m', 'the recording ends here: part 1, segment 2'],
    ])
  })

  test('the lines of a stream are read wherever it is split', async () => {
    const bytes = Buffer.from([first, output(0, '日本'), end()].map(line => `${JSON.stringify(line)}\n`).join(''))
    for (const size of [1, 2, 3, 7, bytes.length]) {
      const chunks: Buffer[] = []
      for (let i = 0; i < bytes.length; i += size) chunks.push(bytes.subarray(i, i + size))
      const { events } = read(await castOf(chunks))
      expect(events).toEqual([[0, 'o', '日本']])
    }
  })
})

async function castOf(chunks: readonly Buffer[]): Promise<string[]> {
  const made: string[] = []
  for await (const line of asciicast(replayLines(each(chunks)))) made.push(line)
  return made
}

describe('a terminal on the screen', () => {
  function play(lines: readonly ReplayLine[], options = {}, size = { columns: 200, rows: 60 }): string {
    let out = ''
    const screen = new TerminalScreen({ ...size, write: text => (out += text) }, options)
    for (const line of lines) screen.show(line)
    return out
  }

  test('shows the output as it was from where the recording has a terminal, and puts the screen back', () => {
    const out = play([
      first,
      resize(0, 80, 24),
      output(1, '\x1b[?1049h\x1b[31mvim\x1b]2;x\x07'),
      at(2, 'exit', { channel: 0, code: 0 }),
      end(),
    ])
    expect(out).toContain('\x1b[?1049h\x1b[31mvim')
    expect(out).not.toContain('\x1b]')
    expect(out).toMatch(/\x1b\[\?1049l.*\n--- end \(sealed\) ---\n$/s)
    expect(out).not.toContain('exit')
  })

  test('a command without a terminal, and what is no terminal at all, stay text', () => {
    const out = play([first, output(1, 'a\x1b[31m'), at(2, 'statement', { text: 'select 1' }), end()])
    expect(out).toContain('a\\u001b[31m')
    expect(out).toContain('select 1')
    expect(out).not.toContain('\x1b')
    expect(play([first, output(1, 'plain'), end()], { terminal: true })).toMatch(/^plain/)
  })

  test('RE6: as text every escape of it is visible', () => {
    expect(renderLine(output(0, 'a\x1b]52;c;x\x07\r\nb'))).toMatch(
      /output channel=0 stream=out\n {4}a\\u001b\]52;c;x\\u0007\n {4}b$/,
    )
  })

  test('a smaller screen is told', () => {
    const out = play([first, resize(0, 120, 40), output(1, 'x'), end()], {}, { columns: 80, rows: 24 })
    expect(out).toContain('it was 120 × 40, and this terminal is 80 × 24')
  })

  test('a hole and a missing moderator are told in between, and other channels at the end', () => {
    const out = play([
      first,
      resize(0, 9, 9),
      output(1, 'x'),
      at(2, 'moderation', { state: 'waiting' }),
      output(3, 'y', 4),
      end(),
    ])
    expect(out).toContain('--- no moderator watches ---')
    expect(out).toContain('there is more on channel 4')
  })
})
