import { describe, expect, test } from 'vitest'
import { Advertisement } from '../../../src/protocols/git/pack/advertisement.ts'
import { pushCapabilities } from '../../../src/protocols/git/pack/capabilities.ts'
import { PushCommands, type PushRequest, pushRequestLines } from '../../../src/protocols/git/pack/commands.ts'
import { FetchRequest, FetchRequests2, offeredLine } from '../../../src/protocols/git/pack/fetch-request.ts'
import { Passage } from '../../../src/protocols/git/pack/passage.ts'
import { dataLine, type Pkt, PktReader, WireError } from '../../../src/protocols/git/pack/pkt-line.ts'
import { refName } from '../../../src/protocols/git/pack/refs.ts'
import { Report } from '../../../src/protocols/git/pack/report.ts'
import { forTerminal } from '../../../src/protocols/git/pack/sideband.ts'
import { resolve, whyNotRef } from '../../../src/protocols/git/updates.ts'

const id = (digit: string) => digit.repeat(40)
const zero = id('0')
const line = (text: string | Buffer): Pkt => ({ kind: 'data', payload: Buffer.from(text as string) })
const flush: Pkt = { kind: 'flush' }

function push(...pkts: Pkt[]): PushRequest | undefined {
  const commands = new PushCommands()
  let request: PushRequest | undefined
  for (const pkt of pkts) request = commands.read(pkt) ?? request
  return request
}

describe('the commands of a push', () => {
  const caps = ' report-status-v2 side-band-64k atomic push-options object-format=sha1 agent=git/2.39'

  test('GI9: all are read to the flush, behind shallow lines too, however the bytes are split', () => {
    const wire = Buffer.concat([
      dataLine(`shallow ${id('9')}`),
      dataLine(`${id('1')} ${id('2')} refs/heads/main\0${caps}`),
      dataLine(`${zero} ${id('3')} refs/heads/new\n`),
      Buffer.from('0000'),
      dataLine('ci.skip'),
      Buffer.from('0000'),
      Buffer.from('PACK'),
    ])
    for (let at = 0; at <= wire.length; at++) {
      const [reader, commands] = [new PktReader(), new PushCommands()]
      let request: PushRequest | undefined
      let rest = Buffer.alloc(0)
      for (const chunk of [wire.subarray(0, at), wire.subarray(at)]) {
        if (commands.isDone) rest = Buffer.concat([rest, chunk])
        else
          rest = Buffer.from(
            reader.read(chunk, pkt => {
              request = commands.read(pkt)
              return commands.isDone ? 'stop' : undefined
            }) ?? [],
          )
      }
      expect(rest.toString()).toBe('PACK')
      expect(request).toMatchObject({
        shallow: [id('9')],
        options: ['ci.skip'],
        commands: [
          { ref: 'refs/heads/main', old: id('1'), new: id('2') },
          { ref: 'refs/heads/new', old: null, new: id('3') },
        ],
      })
      expect(
        Buffer.concat([pushRequestLines(request!, request!.commands, 'sha1'), Buffer.from('PACK')]).toString(),
      ).toContain(`refs/heads/main\0 ${caps.trim()}`)
    }
  })

  test.each([
    ['a signed push', [line('push-cert\0atomic')]],
    ['a capability that was not offered', [line(`${zero} ${id('1')} refs/heads/a\0push-cert=x`)]],
    ['a NUL in a later name', [line(`${zero} ${id('1')} refs/heads/a\0`), line(`${zero} ${id('1')} refs/heads/b\0x`)]],
    ['a newline in a name', [line(`${zero} ${id('1')} refs/heads/a\nb\n`)]],
    [
      'bytes that are no UTF-8',
      [{ kind: 'data', payload: Buffer.from(`${zero} ${id('1')} refs/heads/\xff`, 'latin1') } as Pkt],
    ],
    ['the same ref twice', [line(`${zero} ${id('1')} refs/heads/a`), line(`${zero} ${id('2')} refs/heads/a`)]],
    ['shallow behind a command', [line(`${zero} ${id('1')} refs/heads/a`), line(`shallow ${id('1')}`)]],
    ['ids of two formats', [line(`${zero} ${'1'.repeat(64)} refs/heads/a`)]],
    ['a short id', [line(`${zero} 123 refs/heads/a`)]],
    ['no command', [line('hello')]],
    ['a delimiter', [{ kind: 'delim' } as Pkt]],
  ])('%s is refused', (_what, pkts) => {
    expect(() => push(...pkts, flush)).toThrow(WireError)
  })

  test.each(['a;b', 'a\nb', 'a\0b', 'a\x1b[0m', 'x'.repeat(5000)])('GI8: the push option %j is refused', option => {
    expect(() => push(line(`${zero} ${id('1')} refs/heads/a\0push-options`), flush, line(option), flush)).toThrow(
      WireError,
    )
  })

  test('lists without end are refused', () => {
    const commands = new PushCommands()
    const send = () => {
      for (let i = 0; i < 10_001; i++) commands.read(line(`${zero} ${id('1')} refs/heads/b${i}`))
    }
    expect(send).toThrow('more than 10000 refs')
  })

  test.each([
    'refs/heads/..',
    'refs/heads/a..b',
    'refs/heads/a.lock',
    'refs/heads/.a',
    'refs/heads/a/',
    'refs/heads//a',
    'refs/heads/a@{1}',
    'refs/heads/a b',
    'refs/heads/a~1',
    'refs/heads/a\u202eb',
    'main',
    '-d',
    'refs',
    '',
    'refs/heads/a\x7f',
    '@',
  ])('%j is no name of a ref', name => {
    expect(() => refName(Buffer.from(name))).toThrow(WireError)
  })
})

describe('what a ref really is', () => {
  const refs = new Map([
    ['refs/heads/main', id('1')],
    ['refs/heads/alias', id('1')],
    ['refs/heads/topic', id('2')],
  ])
  const update = (ref: string, old: string | null) => ({ ref, old, new: id('5') })

  test('GI6: an alias is judged as what it leads to', () => {
    const symrefs = new Map([['refs/heads/alias', 'refs/heads/main']])
    expect(resolve([update('refs/heads/alias', id('1'))], refs, symrefs)).toMatchObject([
      { ref: 'refs/heads/main', asked: 'refs/heads/alias' },
    ])
    const both = [update('refs/heads/alias', id('1')), update('refs/heads/main', id('1'))]
    expect(resolve(both, refs, symrefs)).toMatchObject([{ ref: 'refs/heads/main' }, { ref: 'refs/heads/main' }])
    const torn = resolve([both[0]!, { ...both[1]!, new: id('6') }], refs, symrefs)
    for (const each of torn)
      expect(each).toMatchObject({ why: expect.stringContaining('other names of refs/heads/main') })
    const circle = new Map([
      ['refs/heads/alias', 'refs/heads/topic'],
      ['refs/heads/topic', 'refs/heads/alias'],
    ])
    expect(resolve([update('refs/heads/alias', id('1'))], refs, circle)[0]).toHaveProperty('why')
  })

  test('GI6: where the server does not say, a ref is judged as each of which it may be a name', () => {
    expect(resolve([update('refs/heads/alias', id('1'))], refs, undefined)).toMatchObject([
      { perhaps: ['refs/heads/main'] },
    ])
    expect(resolve([update('refs/heads/topic', id('2'))], refs, undefined)).toMatchObject([{ perhaps: [] }])
  })

  test('a deletion of what is not there is refused by itself: servers would delete what somebody made since', () => {
    const nothing = { ref: 'refs/heads/gone', old: null, new: null }
    expect(resolve([nothing, update('refs/heads/topic', id('2'))], refs, new Map())).toMatchObject([
      { asked: 'refs/heads/gone', why: 'it is not there' },
      { ref: 'refs/heads/topic' },
    ])
  })

  test('what moved since is refused', () => {
    expect(resolve([update('refs/heads/main', id('7'))], refs, new Map())[0]).toMatchObject({
      why: expect.stringContaining('fetch first'),
    })
    expect(resolve([update('refs/heads/main', null)], refs, new Map())[0]).toHaveProperty('why')
  })

  test('a new ref that some file system takes for another one is refused', () => {
    const why = (...names: string[]) =>
      resolve(
        names.map(name => update(name, null)),
        refs,
        new Map(),
      ).map(each => ('why' in each ? each.why : null))
    for (const name of ['refs/heads/Main', 'refs/heads/MAIN', 'refs/heads/ｍain', 'refs/heads/maın'.replace('ı', 'I')])
      expect(why(name), name).toEqual([expect.stringContaining('almost as refs/heads/main')])
    expect(why('refs/heads/caf\u00e9', 'refs/heads/cafe\u0301')).toEqual([null, expect.stringContaining('almost as')])
    expect(why('refs/heads/mains', 'refs/tags/main')).toEqual([null, null])
  })

  test('GI7: only listed namespaces, and no name that git reads otherwise', () => {
    const resource = { options: { repositories: {} } } as never
    for (const ref of ['refs/heads/main', 'refs/tags/v1', 'refs/heads/feature/x'])
      expect(whyNotRef(resource, ref)).toBeUndefined()
    for (const ref of [
      'HEAD',
      'refs/replace/x',
      'refs/notes/commits',
      'refs/heads/HEAD',
      'refs/heads/-x',
      'refs/heads/',
      'refs/pull/1/head',
      `refs/heads/${id('a')}`,
    ])
      expect(whyNotRef(resource, ref), ref).toBeDefined()
  })
})

describe('what a server has of other repositories', () => {
  const told = (...lines: string[]) => {
    const server = new Advertisement(pushCapabilities, 'no-thin')
    const payload = (text: string, i: number) => Buffer.from(i === 0 ? `${text}\0atomic\n` : `${text}\n`)
    const onward = lines.map((text, i) => server.line({ kind: 'data', payload: payload(text, i) }))
    return Buffer.concat([...onward, server.end()])
  }
  const have = `${id('1')} .have`
  const main = `${id('2')} refs/heads/main`

  test('is not told: a pack that stands upon it could not be judged', () => {
    expect(told(main, have)).toEqual(dataLine(`${main}\0atomic no-thin\n`))
    expect(told(have)).toEqual(dataLine(`${zero} capabilities^{}\0atomic no-thin\n`))
  })

  test('what the server can do stands on the first line that goes on', () => {
    expect(told(have, have, main)).toEqual(dataLine(`${main}\0atomic no-thin\n`))
    expect(told(have, `shallow ${id('3')}`)).toEqual(
      Buffer.concat([dataLine(`${zero} capabilities^{}\0atomic no-thin\n`), dataLine(`shallow ${id('3')}\n`)]),
    )
  })
})

test('of a server’s words only colours and lines reach a terminal', () => {
  const shown = (text: string) => forTerminal(Buffer.from(text)).toString()
  expect(shown('\x1b[1;31mred\x1b[m é 日本\r\n\tok')).toBe('\x1b[1;31mred\x1b[m é 日本\r\n\tok')
  expect(shown('\x1b[2J\x1b]0;title\x07\x1b[3A\x08\x7f\u009b2J')).toBe('^[[2J^[]0;title^G^[[3A^H^??2J')
})

describe('what a client wants', () => {
  test('version 0: wants, depth and filter to the flush; then only what it has', () => {
    const request = new FetchRequest()
    request.read(line(`want ${id('1')} side-band-64k ofs-delta filter`))
    request.read(line(`want ${id('2')}\n`))
    request.read(line('deepen 3'))
    request.read(line('filter blob:none'))
    expect(request.read(flush)).toEqual({ ids: [id('1'), id('2')], refs: [], depth: 3, filter: 'blob:none' })
    expect(request.read(line(`have ${id('3')}`))).toBeUndefined()
    expect(() => request.read(line(`want ${id('4')}`))).toThrow(WireError)
    request.read(line('done\n'))
    expect(() => request.read(line(`have ${id('3')}`))).toThrow(WireError)
    expect(new FetchRequest().read(flush)).toBe('none')
    expect(() => new FetchRequest().read(line(`want ${id('1')} unheard-of`))).toThrow('not offered')
  })

  test('version 2: each request whole, and nothing that was not offered', () => {
    const requests = new FetchRequests2()
    const say = (...pkts: Pkt[]) => pkts.map(pkt => requests.read(pkt)).at(-1)
    const delim: Pkt = { kind: 'delim' }
    expect(
      say(line('command=ls-refs'), line('agent=git/2'), delim, line('symrefs'), line('ref-prefix refs/heads/'), flush),
    ).toEqual({ command: 'ls-refs' })
    expect(
      say(
        line('command=fetch'),
        delim,
        line('thin-pack'),
        line(`want ${id('1')}`),
        line('want-ref refs/heads/x'),
        line('done'),
        flush,
      ),
    ).toMatchObject({
      command: 'fetch',
      wanted: { ids: [id('1')], refs: ['refs/heads/x'] },
    })
    expect(say(flush)).toEqual({ command: 'nothing' })
    for (const wrong of [
      [line('command=object-info')],
      [line('command=fetch'), delim, line('packfile-uris https')],
      [line('server-option=x')],
      [delim],
      [line('agent=x'), flush],
    ])
      expect(() => wrong.map(pkt => new FetchRequests2().read(pkt) ?? undefined) && say(...wrong)).toThrow(WireError)
  })

  test('a server offers what is known here, and no more', () => {
    expect(offeredLine('fetch=shallow packfile-uris filter')).toBe('fetch=shallow filter')
    expect(offeredLine('bundle-uri')).toBeUndefined()
    expect(offeredLine('server-option')).toBeUndefined()
    const refs = new Advertisement(pushCapabilities)
    const first = line(`${id('1')} refs/heads/main\0report-status push-cert=n0nce atomic unheard-of`)
    expect(refs.line(first as never).toString()).toContain('\0report-status atomic\n')
  })
})

describe('answers', () => {
  test('a report is told with what the gateway refused beside what the server says', () => {
    const report = new Report()
    const own = Buffer.concat([
      dataLine('unpack ok\n'),
      dataLine('ok refs/heads/a\n'),
      dataLine('ng refs/heads/b hook declined\n'),
      Buffer.from('0000'),
    ])
    for (const byte of own) report.read(Buffer.of(byte))
    expect(report.results).toEqual(
      new Map([
        ['refs/heads/a', null],
        ['refs/heads/b', 'hook declined'],
      ]),
    )
    const text = report.write(new Map([['refs/heads/c', 'refused by policy:\nno']])).toString()
    expect(text).toContain('ng refs/heads/c refused by policy: no\n')
    expect(text.endsWith('0000')).toBe(true)
  })

  test('a reason with control characters is cleaned: the ref was taken or it was not', () => {
    const report = new Report()
    const own = ['unpack ok', 'ok refs/heads/a', 'ng refs/heads/b \x1b[31mno\x1b]0;x\x07', 'ng refs/heads/c \u009b2J']
    report.read(Buffer.concat([...own.map(each => dataLine(`${each}\n`)), Buffer.from('0000')]))
    expect([...report.results.values()]).toEqual([null, '?no?]0;x?', '?2J'])
    expect(report.write(new Map()).toString()).toContain('ng refs/heads/b ?no?]0;x?\n')
    expect(() => new Report().read(dataLine('ERR disk\x07 full\n'))).toThrow('in the place of its report: disk? full')
  })
})

describe('what a server answers goes through', () => {
  const pack = (bytes: Buffer) => dataLine(Buffer.concat([Buffer.of(1), bytes]))
  const words = (text: string, band = 2) => dataLine(Buffer.concat([Buffer.of(band), Buffer.from(text, 'latin1')]))
  const clear = '\x1b[2J\x07'

  function passed(chunks: readonly Buffer[], bands: number | null = 65_516) {
    const [onward, said]: [Buffer[], string[]] = [[], []]
    const passage = new Passage(text => void said.push(text.toString('latin1')))
    let rest: Buffer | undefined
    for (const chunk of chunks)
      rest = passage.read(chunk, { bands, isRaw: bands === null }, piece => onward.push(piece))
    return { onward, text: Buffer.concat(onward).toString('latin1'), said: said.join(''), rest }
  }

  test('CVE-2024-52005: bands and errors fit for a terminal, the pack as it is, wherever the bytes are split', () => {
    const bytes = Buffer.from(`${clear}\xc2\x9bPACK0000`, 'latin1')
    const wire = Buffer.concat([
      ...[dataLine('NAK\n'), pack(bytes), words(`a${clear}\n`), Buffer.from('0004'), words(''), pack(bytes)],
      ...[dataLine(`ERR ${clear}`), words(`b${clear}`, 3), Buffer.from('0000')],
    ])
    const fit = [
      ...[dataLine('NAK\n'), pack(bytes), words('a^[[2J^G\n'), Buffer.from('0004'), words(''), pack(bytes)],
      ...[dataLine('ERR ^[[2J^G'), words('b^[[2J^G', 3), Buffer.from('0000')],
    ]
    for (let at = 1; at < wire.length; at++) {
      const { text, said, rest } = passed([wire.subarray(0, at), wire.subarray(at)])
      expect(text).toBe(Buffer.concat(fit).toString('latin1'))
      expect(said).toBe(`a${clear}\n${clear}b${clear}`)
      expect(rest).toHaveLength(0)
    }
  })

  test('what is torn over two lines is read as a terminal would', () => {
    const torn = passed([
      words('\x1b[3'),
      words('1mred\x1b'),
      words(']0;x\xc2'),
      words('\x9b2J\xc2'),
      Buffer.from('0000'),
    ])
    const shown: string[] = []
    new PktReader().read(Buffer.from(torn.text, 'latin1'), pkt => {
      if (pkt.kind === 'data') shown.push(pkt.payload.toString('latin1', 1))
      return undefined
    })
    expect(shown.join('')).toBe('\x1b[31mred^[]0;x?2J?')
  })

  test('a pack is not copied, and lines that a client of the older bands could not take are made smaller', () => {
    const chunk = Buffer.concat([
      pack(Buffer.alloc(60_000)),
      words('10%\r'),
      pack(Buffer.alloc(60_000)).subarray(0, 30_000),
    ])
    const { onward } = passed([chunk])
    expect(onward).toHaveLength(1)
    expect(onward[0]!.buffer).toBe(chunk.buffer)
    const small: number[] = []
    new PktReader().read(Buffer.from(passed([words('\x07'.repeat(990))], 996).text, 'latin1'), pkt => {
      if (pkt.kind === 'data') small.push(pkt.payload.length)
      return undefined
    })
    expect(small).toEqual([996, 986])
  })

  test('a pack by itself lasts to the end; what is neither a line nor that is refused', () => {
    const wire = Buffer.from(`0008NAK\nPACK${clear}zzzz`)
    for (let at = 1; at < wire.length; at++)
      expect(passed([wire.subarray(0, at), wire.subarray(at)], null).text).toBe(wire.toString('latin1'))
    expect(() => passed([wire])).toThrow('whose length is no number')
  })

  test('a server that refuses in its first words is heard', () => {
    const error = line(`ERR acc\xe8s ${clear}`) as never
    expect(new Advertisement(pushCapabilities).line(error).toString()).toBe('0016ERR acc\xe8s ^[[2J^G')
  })
})
